"""What could not be done is kept with its reason, counted, bounded, and done again after the fix.

    letters = DeadLetters(SqliteLetters("work/dead.db"), "invoices", share=0.05)
    letters.add(row, "price is negative", key=f"{file}:{number}")
    letters.passed(len(good))                          # so that the share is known
    letters.counts()                                   # {"price is negative": 1}
    letters.replay(lambda letter: load(letter.payload))

Laws: never silently growing (at `most` letters or `most_bytes`, closed ones go first, and then it stops or says what it
drops); never silently many (above `share` it stops); one letter for a key, however often it dies; a replay marks what
it has done and leaves it alone the next time.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Literal

from premortem.durable.dead_letters import rules
from premortem.durable.dead_letters.room import Room
from premortem.durable.dead_letters.rules import DeadLetter, State
from premortem.durable.dead_letters.settings import check, check_letter
from premortem.durable.dead_letters.stores import DeadLetterStore, Put, Row
from premortem.durable.errors import DamagedError, StoreDownError, TooManyDeadLettersError
from premortem.durable.telling import tell
from premortem.events import emit
from premortem.model.codec import Json
from premortem.ports import Clock

_PAGE = 200
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Replay:
    """What a replay came to: letters done, failed again, and left alone (another replay has them, or damaged)."""

    replayed: int
    failed: int
    skipped: int


class DeadLetters:
    """The dead letters of one pipeline, `name`, over a store.

    At `most` letters or `most_bytes` bytes, replayed and discarded ones are removed, the oldest first; where that is
    not enough, `when_full` says "stop" (DeadLettersFullError) or "drop oldest" (told each time:
    `dead_letters.dropped`). With several writers it may be exceeded by what the others add within a second.
    `share`: the most dead letters among all that this object has seen, as a fraction, from `least` on (None: no limit).
    `lease_s`: after so many seconds, a letter of a replay that was never heard of again may be replayed by another one.
    `clock`: the store's own time if None.
    """

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        store: DeadLetterStore,
        name: str = "default",
        *,
        most: int = 100_000,
        most_bytes: int = 1 << 30,
        when_full: Literal["stop", "drop oldest"] = "stop",
        share: float | None = None,
        least: int = 100,
        lease_s: float = 300.0,
        clock: Clock | None = None,
    ) -> None:
        check(
            store,
            name=name,
            most=most,
            most_bytes=most_bytes,
            when_full=when_full,
            share=share,
            least=least,
            lease_s=lease_s,
        )
        self.store, self.name = store, name
        self._room = Room(store, name, most, most_bytes, drop=when_full == "drop oldest")
        self._share, self._least, self._lease_s, self._clock = share, least, lease_s, clock
        self._lock = threading.Lock()
        self._dead = self._passed = 0

    def add(self, payload: Json | bytes, why: str, *, key: str, attempts: int = 1, detail: str = "") -> DeadLetter:
        """Keep what could not be done; the letter, as it is kept.

        `why` is a short reason to count by, `detail` says more. A key that is there already has died once more: its
        payload and reason are the new ones, its history goes on. Raises DeadLettersFullError (not kept),
        TooManyDeadLettersError (kept; in the caller's transaction only if that is committed), StoreDownError (unknown:
        add it again, it is the same letter).
        """
        check_letter(key, why, attempts)
        draft = DeadLetter(key, why, detail[: rules.MOST_DETAIL], payload, attempts, 1, _EPOCH, _EPOCH)
        size = len(rules.document(draft))
        if not self._room.fits(size) and self._read(key) is None:
            self._room.make(size)
        kept: list[DeadLetter] = []

        def decide(raw: bytes | None, at: datetime) -> Put:
            now = self._clock.now() if self._clock else at
            letter = DeadLetter(key, why, draft.detail, payload, attempts, 1, now, now)
            kept[:] = [rules.died(self._known(key, raw), letter)]
            return _put(kept[0])

        self.store.change(self.name, key, decide)
        self._room.took(size)
        emit("dead_letters.added", pipeline=self.name, key=key, why=why, times=kept[0].times)
        self._count(dead=1)
        return kept[0]

    def passed(self, number: int = 1) -> None:
        """Say that `number` went well: the share is counted among them. Raises TooManyDeadLettersError."""
        self._count(passed=number)

    def counts(self, state: State = "dead") -> Mapping[str, int]:
        """How many letters there are in that state, by reason, the most frequent first."""
        tallies = [tally for tally in self.store.tallies(self.name) if tally.state == state]
        return {tally.why: tally.letters for tally in sorted(tallies, key=lambda tally: (-tally.letters, tally.why))}

    def letters(self, state: State = "dead", why: str | None = None) -> Iterator[DeadLetter]:
        """The letters in that state (and for that reason), the oldest first; DamagedError for one that is none."""
        for row in self._rows(state, why, self.store.newest(self.name)):
            yield rules.letter_from(row.document, self._where(row.key))

    def replay(
        self,
        handle: Callable[[DeadLetter], object],
        *,
        why: str | None = None,
        limit: int | None = None,
        stop_after: int | None = None,
    ) -> Replay:
        """Hand each dead letter (of that reason) to `handle`, and mark what it has done.

        Where `handle` raises, the letter is dead as before, with one attempt more. At most `limit` of them, and until
        `stop_after` have failed.

        Where the store is in the caller's transaction, a letter is marked in it with whatever `handle` does there:
        exactly once. Elsewhere a replay that dies between the two leaves its letter for the next one: at least once, so
        `handle` has to be idempotent (`premortem.durable.Idempotency`, with the letter's key).
        """
        done = failed = skipped = 0
        newest = self.store.newest(self.name)
        for row in chain(self._rows("dead", why, newest), self._rows("replaying", why, newest)):
            if done + failed == limit or failed == stop_after:
                break
            try:
                came = self._replay_one(row.key, handle)
            except DamagedError as damaged:
                tell("dead_letters.damaged", pipeline=self.name, key=row.key, why=damaged.why)
                came = None
            done, failed, skipped = done + (came is True), failed + (came is False), skipped + (came is None)
        emit("dead_letters.replayed", pipeline=self.name, replayed=done, failed=failed, skipped=skipped)
        return Replay(done, failed, skipped)

    def discard(self, key: str, because: str) -> bool:
        """Give a letter up; it stays in the history until there is no room. False where there is none to give up."""
        return self._moved(key, lambda letter, now: rules.discarded(letter, now, because))

    def _replay_one(self, key: str, handle: Callable[[DeadLetter], object]) -> bool | None:
        """Whether it is done; None where it is not there to be taken."""
        token = secrets.token_hex(8)
        found: list[DeadLetter] = []

        def take(letter: DeadLetter, now: datetime) -> DeadLetter | None:
            found[:] = [letter]
            return rules.taken(letter, token, now, self._lease_s)

        try:
            with self.store.together():
                if not self._moved(key, take, skip_held=True):
                    return None
                handle(found[0])
                if not self._moved(key, partial(_done, token)):
                    tell("dead_letters.overtaken", pipeline=self.name, key=key)
        except StoreDownError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is why this letter stays dead
            words = f"{type(error).__name__}: {error}"
            self._moved(key, lambda letter, now: rules.failed(letter, token, now, words))
            return False
        return True

    def _moved(
        self, key: str, move: Callable[[DeadLetter, datetime], DeadLetter | None], *, skip_held: bool = False
    ) -> bool:
        moved: list[bool] = []

        def decide(raw: bytes | None, at: datetime) -> Put | None:
            letter = self._known(key, raw)
            after = move(letter, self._clock.now() if self._clock else at) if letter else None
            moved[:] = [after is not None]
            return None if after is None else _put(after)

        self.store.change(self.name, key, decide, skip_held=skip_held)
        return moved[0]

    def _rows(self, state: State, why: str | None, newest: int) -> Iterator[Row]:
        after = 0
        while page := self.store.page(self.name, state=state, why=why, after=after, limit=_PAGE):
            for row in page:
                if row.number > newest:  # it came after we began: it is for the next time, or this might never end
                    return
                yield row
            after = page[-1].number

    def _read(self, key: str) -> bytes | None:
        found: list[bytes | None] = []

        def look(raw: bytes | None, _: datetime) -> None:
            found[:] = [raw]

        self.store.change(self.name, key, look)
        return found[0]

    def _known(self, key: str, raw: bytes | None) -> DeadLetter | None:
        return None if raw is None else rules.letter_from(raw, self._where(key))

    def _where(self, key: str) -> str:
        return f"dead letter {key!r} of {self.name!r}"

    def _count(self, *, dead: int = 0, passed: int = 0) -> None:
        with self._lock:
            self._dead, self._passed = self._dead + dead, self._passed + passed
            bad, of = self._dead, self._dead + self._passed
        if self._share is not None and of >= self._least and bad > self._share * of:
            emit("dead_letters.too_many", pipeline=self.name, dead=bad, of=of)
            raise TooManyDeadLettersError(self.name, bad, of, self._share)


def _put(letter: DeadLetter) -> Put:
    return Put(letter.why, letter.state, rules.document(letter))


def _done(token: str, letter: DeadLetter, now: datetime) -> DeadLetter | None:
    return rules.replayed(letter, token, now)
