"""The head of one checkpoint in its store: changed by a decision, made again from the documents where it is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from premortem.durable.checkpoint import rules
from premortem.durable.checkpoint.rules import Head
from premortem.durable.checkpoint.stores import Change, CheckpointStore
from premortem.durable.errors import DamagedError, DurableError, StoreDownError
from premortem.durable.telling import tell
from premortem.ports import Clock

_TRIES = 3


class Heads:
    """What stands between a checkpoint and its store. `clock` (None: the store's own) says what time it is."""

    def __init__(self, store: CheckpointStore, name: str, clock: Clock | None) -> None:
        self._store, self._name, self._clock = store, name, clock

    def change(self, decide: Callable[[Head, datetime], Change]) -> None:
        """Write what `decide` makes of the head. What it raises comes out, and nothing is written."""

        def known(raw: bytes | None, now: datetime) -> Change:
            try:
                head = None if raw is None else rules.head_from(raw, self._name)
            except DamagedError:
                head = None
            if head is None:
                raise _HeadLostError(raw)
            return decide(head, self._clock.now() if self._clock else now)

        for _ in range(_TRIES):
            try:
                return self._store.change(self._name, known)
            except _HeadLostError as lost:
                self._make(lost.raw)
        raise StoreDownError(repr(self._store), f"the head of {self._name!r} is lost as often as it is made anew")

    def replace(self, decide: Callable[[Head, datetime], Head]) -> Head:
        """Write the head that `decide` makes of the head, and give it."""
        after: list[Head] = []

        def change(head: Head, now: datetime) -> Change:
            after[:] = [decide(head, now)]
            return Change(rules.head_bytes(after[0]))

        self.change(change)
        return after[0]

    def readable(self, raw: bytes | None) -> Head | None:
        """The head; None, and told, where it is damaged: the documents say enough to read."""
        try:
            return None if raw is None else rules.head_from(raw, self._name)
        except DamagedError as error:
            tell("checkpoint.head_damaged", checkpoint=self._name, why=error.why)
            return None

    def _make(self, lost: bytes | None) -> None:
        documents = self._store.read(self._name).documents
        head = rules.rebuilt(documents, self._name, lost=lost is not None)
        if documents or lost is not None:
            why = "it is missing" if lost is None else "it is damaged"
            tell("checkpoint.head_rebuilt", checkpoint=self._name, why=why, version=head.version, fence=head.fence)
        new = Change(rules.head_bytes(head))
        self._store.change(self._name, lambda raw, _: new if raw == lost else None)


class _HeadLostError(DurableError):
    """The head cannot be read; `raw` is what stands in its place."""

    def __init__(self, raw: bytes | None) -> None:
        super().__init__(raw)
        self.raw = raw
