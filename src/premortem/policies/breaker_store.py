"""Where a circuit is kept: in memory, or in a store that several processes share.

A store knows two things: to read the circuit with its own time, and to swap it for another one if nobody has been
faster. All rules stay in `breaker_machine`, so every store has the same. Law: a store that does not answer never fails
a call; the breaker goes on alone (`Sure`) and follows the store again as soon as it answers.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Protocol

from premortem.errors import PremortemError
from premortem.events import emit
from premortem.policies.breaker_machine import Circuit
from premortem.policies.timing import TIME


class BreakerStoreError(PremortemError):
    """A shared store did not answer, or answered what is no circuit."""


class BreakerStore(Protocol):
    """Keeps one circuit. Thread-safe; raises nothing but BreakerStoreError."""

    def read(self) -> tuple[Circuit, float]:
        """The circuit (a closed one where there is none yet) and the store's time in seconds."""
        ...

    def swap(self, before: Circuit, after: Circuit) -> bool:
        """Keep `after` if the circuit still equals `before`, in one atomic step; False where it does not."""
        ...


class SharedStore(Protocol):
    """The spec of a store outside of the process: plain data."""

    @property
    def refresh_s(self) -> float:
        """For how many seconds what was read is taken for true."""
        ...

    def store(self, policy: str) -> BreakerStore:
        """The store of that policy's circuit. Connects to nothing yet."""
        ...


class MemoryStore:
    """In this process; may be shared by several breakers. Its time is `TIME.monotonic`, plus `ahead_s` seconds."""

    def __init__(self, circuit: Circuit | None = None, ahead_s: float = 0.0) -> None:
        self._circuit = circuit or Circuit()
        self._ahead_s = ahead_s
        self._lock = threading.Lock()

    def read(self) -> tuple[Circuit, float]:
        """As `BreakerStore.read`."""
        return self._circuit, TIME.monotonic() + self._ahead_s

    def swap(self, before: Circuit, after: Circuit) -> bool:
        """As `BreakerStore.swap`."""
        with self._lock:
            if self._circuit != before:
                return False
            self._circuit = after
            return True


class Sure:
    """A shared store that always answers: while the real one does not, a copy in memory goes on with its time.

    Called by one thread at a time (its breaker sees to that). The real one is tried again every `retry_s` seconds.
    """

    def __init__(self, store: BreakerStore, policy: str, retry_s: float) -> None:
        self._store, self._policy, self._retry_s = store, policy, retry_s
        self._known = Circuit()
        self._ahead_s = 0.0
        self._alone: MemoryStore | None = None
        self._again_at = 0.0
        self._news: deque[tuple[str, str]] = deque()

    def read(self) -> tuple[Circuit, float]:
        """As `BreakerStore.read`."""
        if self._alone is None or TIME.monotonic() >= self._again_at:
            try:
                self._known, now = self._store.read()
            except BreakerStoreError as error:
                return self._go_alone(error).read()
            self._ahead_s = now - TIME.monotonic()
            if self._alone is not None:
                self._alone = None
                self._news.append(("policy.breaker_store_found", "it answers"))
            return self._known, now
        return self._alone.read()

    def swap(self, before: Circuit, after: Circuit) -> bool:
        """As `BreakerStore.swap`."""
        if self._alone is None:
            try:
                return self._store.swap(before, after)
            except BreakerStoreError as error:
                self._known = before
                self._go_alone(error)
        assert self._alone is not None
        return self._alone.swap(before, after)

    def tell(self) -> None:
        """Emit what happened since; apart, since no lock may be held while somebody listens."""
        while self._news:
            name, why = self._news.popleft()
            emit(name, policy=self._policy, why=why)

    def _go_alone(self, error: BreakerStoreError) -> MemoryStore:
        self._again_at = TIME.monotonic() + self._retry_s
        if self._alone is None:
            self._alone = MemoryStore(self._known, self._ahead_s)
            self._news.append(("policy.breaker_store_lost", str(error)))
        return self._alone
