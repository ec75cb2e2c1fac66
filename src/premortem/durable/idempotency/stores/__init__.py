"""Where idempotency keys are kept: what a store has to do, and one module for each place.

A store knows no rule. It hands what is kept under a key to a decision, and does what that says in one atomic step.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from premortem.durable.idempotency.rules import Decision, Record


class IdempotencyStore(Protocol):
    """Keeps records by key. Thread-safe unless it lives in a connection of the caller's.

    Raises StoreDownError when it cannot be reached or cannot write; every wait in it has an end.
    """

    @property
    def transactional(self) -> bool:
        """Whether it writes in the caller's transaction, with which everything is committed or rolled back."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """A block that is kept whole or not at all, if the store is transactional; else it promises nothing."""
        ...

    def change(self, key: str, decide: Decision) -> None:
        """Decide on what is kept and write what comes of it, in one step that no other change can fall into.

        `decide` may be called again when others are faster; what it raises comes out, and nothing is written.
        InFlightError where somebody else's open transaction works on the key.
        """
        ...

    def pending(self, limit: int) -> tuple[tuple[str, Record], ...]:
        """Up to `limit` keys that are in flight, the oldest first."""
        ...

    def purge(self, now: datetime | None, limit: int) -> int:
        """Remove up to `limit` records whose time is over at `now` (None: the store's); how many that were."""
        ...
