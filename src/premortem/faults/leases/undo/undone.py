"""What came of an undo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it: whether anything was `changed`, and in words."""

    changed: bool
    said: str
