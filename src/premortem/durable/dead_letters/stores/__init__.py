"""Where dead letters are kept: what a store has to do, and one module for each place.

A store knows no rule. It hands the document under a key to a decision, and writes what that says in one atomic step.
Several pipelines may share a store, each under a `name` of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Put:
    """What to write: a document, and what of it the store looks for."""

    why: str
    state: str
    document: bytes


Decision = Callable[[bytes | None, datetime], Put | None]
"""From the document and the store's time to what to write, or None for nothing. May be called again; what it raises
comes out, and nothing is written."""


@dataclass(frozen=True, slots=True)
class Row:
    """A kept letter; `number` grows with the order in which letters came, and stays."""

    number: int
    key: str
    document: bytes


@dataclass(frozen=True, slots=True)
class Tally:
    """How many letters of one reason and state there are, and their size in bytes."""

    why: str
    state: str
    letters: int
    bytes: int


class DeadLetterStore(Protocol):
    """Keeps letters by name and key. Thread-safe unless it lives in a connection of the caller's.

    Raises StoreDownError when it cannot be reached or cannot write; every wait in it has an end.
    """

    @property
    def transactional(self) -> bool:
        """Whether it writes in the caller's transaction, with which everything is committed or rolled back."""
        ...

    def together(self) -> AbstractContextManager[None]:
        """A block that is kept whole or not at all, if the store is transactional; else it promises nothing."""
        ...

    def change(self, name: str, key: str, decide: Decision, *, skip_held: bool = False) -> None:
        """Decide on the document and write what comes of it, in one step that no other change can fall into.

        `skip_held`: where somebody else's open transaction has the letter, decide as if there were none.
        """
        ...

    def page(self, name: str, *, state: str, why: str | None, after: int, limit: int) -> tuple[Row, ...]:
        """Up to `limit` letters in that state (and for that reason) with a number above `after`, by number."""
        ...

    def newest(self, name: str) -> int:
        """The greatest number, 0 where there is none."""
        ...

    def tallies(self, name: str) -> tuple[Tally, ...]:
        """All letters, counted."""
        ...

    def remove(self, name: str, rows: Sequence[Row]) -> int:
        """Remove those that are still as they were read; how many that were."""
        ...
