"""Room for dead letters: how many fit, who has to go, and what happens when nobody may.

What the store holds is counted anew after a second, after an eighth of what was free has been used, and always before
anything is refused; so a letter costs no count of all letters, and a single writer never exceeds the bounds.
"""

from __future__ import annotations

import threading
import time

from premortem.durable.dead_letters.rules import CLOSED
from premortem.durable.dead_letters.stores import DeadLetterStore
from premortem.durable.errors import DeadLettersFullError
from premortem.durable.telling import tell
from premortem.events import emit

_TRUSTED_S = 1.0
_PART = 8
_AT_ONCE = 100
_OVERHEAD = 1024  # what a letter's history adds to a draft of it, at least


class Room:
    """What is left of `most` letters and `most_bytes` bytes, as this process knows it."""

    def __init__(self, store: DeadLetterStore, name: str, most: int, most_bytes: int, *, drop: bool) -> None:
        self._store, self._name, self._drop = store, name, drop
        self._most, self._most_bytes = most, most_bytes
        self._lock = threading.Lock()
        self._letters = self._bytes = 0
        self._trusted_letters = self._trusted_bytes = 0
        self._until = 0.0

    def fits(self, size: int) -> bool:
        """Whether a letter of `size` bytes fits; counts anew where that is not certain."""
        with self._lock:
            known = time.monotonic() < self._until
            if known and self._trusted_letters >= 1 and self._trusted_bytes >= size + _OVERHEAD:
                return True
        self._recount()
        return self._letters >= 1 and self._bytes >= size + _OVERHEAD

    def took(self, size: int) -> None:
        """A letter of `size` bytes was added."""
        with self._lock:
            self._letters -= 1
            self._bytes -= size + _OVERHEAD
            self._trusted_letters -= 1
            self._trusted_bytes -= size + _OVERHEAD

    def make(self, size: int) -> None:
        """Remove closed letters until it fits, then dead ones if that is allowed; DeadLettersFullError otherwise."""
        for state in (*CLOSED, *(("dead",) if self._drop else ())):
            while not self.fits(size):
                rows = self._store.page(self._name, state=state, why=None, after=0, limit=self._batch())
                removed = self._store.remove(self._name, rows) if rows else 0
                if not removed:
                    break
                if state == "dead":
                    tell("dead_letters.dropped", pipeline=self._name, letters=removed, first=rows[0].key)
                else:
                    emit("dead_letters.history_dropped", pipeline=self._name, letters=removed)
        if not self.fits(size):
            raise DeadLettersFullError(
                f"dead letters {self._name!r}: a letter of {size} bytes does not fit into what is left of most="
                f"{self._most} letters and most_bytes={self._most_bytes}; mend the cause and replay, discard some, or "
                "raise the bounds"
            )

    def _batch(self) -> int:
        """Not more at once than a tenth of all that may be there."""
        return max(1, min(_AT_ONCE, self._most // 10))

    def _recount(self) -> None:
        tallies = self._store.tallies(self._name)
        letters, size = sum(tally.letters for tally in tallies), sum(tally.bytes for tally in tallies)
        with self._lock:
            self._letters, self._bytes = self._most - letters, self._most_bytes - size
            self._trusted_letters, self._trusted_bytes = self._letters // _PART, self._bytes // _PART
            self._until = time.monotonic() + _TRUSTED_S
