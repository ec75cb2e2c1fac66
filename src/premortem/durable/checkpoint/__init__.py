"""A checkpoint: how far a job has come, kept so that it is right after any death.

    checkpoint = Checkpoint(FileStore("work"), "invoices")
    done = checkpoint.load()
    for number in range(done.value if done else 0, len(chunks)):
        ...
        checkpoint.save(number + 1)

Laws: a save leaves the old version or the new one; what is damaged is never used and always told; a stale worker cannot
overwrite; a store that is down is an error or, where you say so, goes on in memory, is counted, and is caught up with.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import deque
from datetime import datetime
from types import MappingProxyType
from typing import Literal

from premortem.durable.checkpoint import rules
from premortem.durable.checkpoint.claim import Claim, Patience, checked_ttl
from premortem.durable.checkpoint.heads import Heads
from premortem.durable.checkpoint.rules import Document, Head
from premortem.durable.checkpoint.stores import Change, CheckpointStore
from premortem.durable.checkpoint.values import Migrations, Saved, check_schema, saved_from
from premortem.durable.errors import CheckpointDamagedError, StaleOwnerError, StoreDownError
from premortem.durable.framing import digest
from premortem.durable.telling import tell
from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.model.codec import Json
from premortem.ports import Clock, SystemClock

__all__ = ["Checkpoint", "Claim", "OnStoreDown", "Saved"]

OnStoreDown = Literal["stop", "go on"]
_NONE: Migrations = MappingProxyType({})
_KNOWN = 256  # documents of ours that a rolled-back transaction may bring back
_MOST = 1_000_000
_LONGEST_NAME = 200


class Checkpoint:
    """The checkpoint `name` in `store`: one for each worker's own progress, or one for all with `claim`.

    `schema` is the version of what you save; `migrations[n]` makes of a value of schema n one of n + 1. `keep`: so many
    versions, of which the newest good one is used. `clock`: instead of the store's own. `on_store_down`: "stop" raises
    StoreDownError; "go on" keeps the newest value in memory for up to `most_missed` saves in a row.
    """

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        store: CheckpointStore,
        name: str,
        *,
        schema: int = 1,
        migrations: Migrations = _NONE,
        keep: int = 3,
        clock: Clock | None = None,
        on_store_down: OnStoreDown = "stop",
        most_missed: int = 1000,
    ) -> None:
        if isinstance(store, str | os.PathLike):
            raise ConfigurationError(f"Checkpoint({store!r}): has to be a store; write FileStore({store!r})")
        _named(name)
        _whole("schema", schema)
        _whole("keep", keep)
        _whole("most_missed", most_missed)
        check_schema(schema, migrations)
        _check_going_on(store, on_store_down)
        self.store, self.name = store, name
        self._schema, self._migrations, self._keep = schema, dict(migrations), keep
        self._clock = clock or SystemClock()
        self._heads, self._patience = Heads(store, name, clock), Patience(self._clock)
        self._goes_on, self._most_missed = on_store_down == "go on", most_missed
        self._writer = secrets.token_hex(4)
        self._known: deque[str] = deque(maxlen=_KNOWN)
        self._claim: Claim | None = None
        self._lock = threading.RLock()
        self._pending: Saved | None = None
        self._missed = 0
        self._newest = 0  # the newest version that was seen, and the newest that the store has promised to keep
        self._promised = 0

    def __repr__(self) -> str:
        return f"Checkpoint({self.store!r}, {self.name!r})"

    @property
    def missed(self) -> int:
        """How many saves in a row are only in memory."""
        return self._missed

    def load(self) -> Saved | None:
        """The newest good version, migrated to this schema; None where nothing was ever saved.

        Each damaged or missing one above it is told (`checkpoint.damaged`). CheckpointDamagedError where none is good,
        NewerSchemaError and MigrationError where this code cannot read it, StoreDownError.
        """
        with self._lock:
            if self._pending:
                return self._pending
            kept = self.store.read(self.name)
            head = self._heads.readable(kept.head)
            found = rules.picked(head, kept.documents, self.name)
            self._tell_flaws(found)
            if found.document is None:
                emit("checkpoint.nothing_saved", checkpoint=self.name)
                return None
            saved = saved_from(found.document, self._schema, self._migrations)
            # Whoever has seen that the newest one is damaged has seen it, and may save after it.
            self._known.extend(
                [*(digest(raw) for _, raw in kept.documents), *([head.mark] if head else []), found.mark]
            )
            self._newest = max(version for version, _ in kept.documents)
            self._promised = head.version if head else 0
            return saved

    def save(self, value: Json, *, fence: int | None = None) -> Saved:
        """Keep `value` as the next version.

        `fence` is that of a claim; without it, the claim made here counts, and without any, nobody may have claimed or
        saved since this object has loaded or saved: StaleOwnerError, OwnedError. NewerSchemaError where newer code has
        saved, ConfigurationError for a value that is not plain JSON, StoreDownError.
        """
        with self._lock:
            if fence is None and self._claim:
                fence = self._claim.fence
            try:
                saved = self._save(value, fence)
            except StoreDownError as error:
                if not self._goes_on:
                    raise
                return self._go_on(value, fence, error)
            except StaleOwnerError:
                self._caught_up("checkpoint.pending_dropped")
                raise
            self._caught_up("checkpoint.caught_up")
            emit("checkpoint.saved", checkpoint=self.name, version=saved.version, fence=saved.fence)
            return saved

    def catch_up(self) -> bool:
        """Save what is only in memory; whether there was anything. StoreDownError while the store is still down."""
        with self._lock:
            if self._pending is None:
                return False
            self._save(self._pending.value, self._pending.fence or None)
            self._caught_up("checkpoint.caught_up")
            return True

    def claim(self, owner: str, ttl_s: float, *, take_over: bool = False) -> Claim:
        """Hold the checkpoint as `owner` for `ttl_s` seconds from now; renew within that time.

        OwnedError names the other owner. The same owner may claim again at once, as after its own crash; what it held
        before is stale then. `take_over` claims it whoever holds it: for when that one is dead for certain.
        """
        if not owner or not owner.isprintable():
            raise ConfigurationError(f'claim(owner={owner!r}): has to be a text that names you; write "worker-1"')
        length_s = checked_ttl(ttl_s)

        def decide(head: Head, now: datetime) -> Head:
            waited_s = self._patience.waited_s(head)
            return rules.claimed(head, owner, length_s, now, waited_s=waited_s, take_over=take_over)

        with self._lock:
            fence = self._heads.replace(decide).fence
            emit("checkpoint.claimed", checkpoint=self.name, owner=owner, fence=fence)
            self._claim = Claim(self._heads, self.name, owner, fence, ttl_s=length_s, ended=self._ended)
            return self._claim

    def forget(self) -> None:
        """Remove all versions and the claim. Fences begin anew, so stop all workers first."""
        with self._lock:
            self.store.forget(self.name)
            self._known.clear()
            self._claim = self._pending = None
            self._newest = self._promised = self._missed = 0

    def _save(self, value: Json, fence: int | None) -> Saved:
        written: list[Document] = []

        def decide(head: Head, now: datetime) -> Change:
            rules.admit(head, fence=fence, known=self._known, schema=self._schema, now=now)
            self._compare(head)
            document = Document(
                self.name, max(head.version, self._newest) + 1, self._schema, head.owner if fence is not None else "",
                fence or 0, now.isoformat(), f"{self._writer}/{os.getpid()}", value,
            )  # fmt: skip
            raw = rules.document_bytes(document)
            self._known.append(digest(raw))  # before it is written: an answer that is lost must not make us strangers
            written[:] = [document]
            after = rules.head_bytes(rules.saved(head, document, raw))
            return Change(after, document.version, raw, document.version - self._keep)

        self._heads.change(decide)
        if not self.store.transactional:  # what the caller may still roll back is no promise
            self._newest = self._promised = written[0].version
        return saved_from(written[0], self._schema, self._migrations)

    def _compare(self, head: Head) -> None:
        """Say so where the store has lost what it had promised to keep."""
        if head.version < self._promised:
            tell("checkpoint.store_went_back", checkpoint=self.name, version=head.version, was=self._promised)

    def _go_on(self, value: Json, fence: int | None, error: StoreDownError) -> Saved:
        """Keep it in memory; aloud the first time, and no further than `most_missed`."""
        if self._missed >= self._most_missed:
            raise error
        self._missed += 1
        if self._missed == 1:
            tell("checkpoint.store_down", checkpoint=self.name, why=str(error), going_on=True)
        emit("checkpoint.missed", checkpoint=self.name, missed=self._missed)
        owner = self._claim.owner if self._claim else ""
        self._pending = Saved(value, 0, self._schema, owner, fence or 0, self._clock.now(), stored=False)
        return self._pending

    def _caught_up(self, event: str) -> None:
        if self._missed:
            tell(event, checkpoint=self.name, missed=self._missed)
        self._pending, self._missed = None, 0

    def _ended(self, claim: Claim) -> None:
        if self._claim is claim:
            self._claim = None

    def _tell_flaws(self, found: rules.Picked) -> None:
        used = found.document.version if found.document else 0
        for version, why in found.flaws:
            tell("checkpoint.damaged", checkpoint=self.name, version=version, why=why, used=used)
        if found.flaws and not used:
            raise CheckpointDamagedError(
                f"checkpoint {self.name!r}", "; ".join(f"version {number}: {why}" for number, why in found.flaws),
                "restore one from a copy, or find out from the data how far it came and forget() it",
            )  # fmt: skip


def _named(name: object) -> None:
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(f"checkpoint name {name!r}: has to be 1 to 200 printable characters")


def _whole(what: str, value: int) -> None:
    if isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ConfigurationError(f"Checkpoint.{what} = {value!r}: has to be a whole number from 1 to {_MOST}")


def _check_going_on(store: CheckpointStore, on_store_down: str) -> None:
    if on_store_down not in ("stop", "go on"):
        raise ConfigurationError(f'Checkpoint.on_store_down = {on_store_down!r}: has to be "stop" or "go on"')
    if on_store_down == "go on" and store.transactional:
        raise ConfigurationError(
            'Checkpoint.on_store_down = "go on": where data are lost with their transaction, progress must be, too; '
            'leave it at "stop", or give the store a place of its own'
        )
