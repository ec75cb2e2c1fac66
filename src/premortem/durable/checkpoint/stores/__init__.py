"""Where checkpoints are kept: what a store has to do, and one module for each place.

A store knows no rule. It reads what is kept under a name, and replaces it in one atomic step by what a decision says;
whose turn it is, which version comes next and what is damaged are decided in `checkpoint_rules`, the same for all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept under a name: the head (None: none), the documents by version, and the store's time, in UTC.

    The head is never newer than the documents: whoever reads it first sees no version missing that is being written.
    """

    head: bytes | None
    documents: tuple[tuple[int, bytes], ...]
    now: datetime


@dataclass(frozen=True, slots=True)
class Change:
    """What to write: the head, and the document of `version`, after which versions up to `forget` may go."""

    head: bytes
    version: int = 0
    document: bytes | None = None
    forget: int = 0


Decision = Callable[[bytes | None, datetime], Change | None]
"""From the head and the store's time to what to write, or None for nothing. May be called again when others are faster;
what it raises comes out, and nothing is written."""


class CheckpointStore(Protocol):
    """Keeps checkpoints by name. Thread-safe unless it lives in a connection of the caller's.

    Raises StoreDownError when it cannot be reached or cannot write; every wait in it has an end.
    """

    @property
    def transactional(self) -> bool:
        """Whether it writes in the caller's transaction, which may still be rolled back."""
        ...

    def read(self, name: str) -> Kept:
        """All that is kept under `name`."""
        ...

    def change(self, name: str, decide: Decision) -> None:
        """Decide on the head and write what comes of it, in one step that no other change can fall into."""
        ...

    def forget(self, name: str) -> None:
        """Remove all that is kept under `name`."""
        ...

    def close(self) -> None:
        """Give back what is the store's own; the next use opens it again."""
        ...
