"""Where the world enters: time and randomness come in by argument, never by import.

Law: nothing above this module calls `time`, `datetime.now` or the global `random` for a decision; it takes a
`Clock` or a `random.Random`. So a test moves a clock instead of sleeping, and a run replays from its seed.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What time it is, in two senses."""

    def now(self) -> datetime:
        """The calendar's time, in UTC. May jump."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment. Never goes back."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The machine's calendar time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The machine's monotonic time, in seconds."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, now: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._now = now
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The calendar time it was moved to."""
        return self._now

    def monotonic(self) -> float:
        """Seconds it was moved by in all."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass, at once."""
        if seconds < 0:
            raise ValueError(f"advance({seconds}): a monotonic clock cannot go back; pass 0 or more seconds")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def derived_seed(seed: int, *names: str) -> int:
    """A seed for one part of a run: the same `seed` and `names` give the same number on every machine."""
    import hashlib  # noqa: PLC0415 - 2 ms that a service, which needs only the clock, must not pay

    digest = hashlib.sha256("\0".join((str(seed), *names)).encode()).digest()
    return int.from_bytes(digest[:8], "big")


def seeded(seed: int, *names: str) -> random.Random:
    """Randomness for one part of a run, independent of every other part and of their order."""
    return random.Random(derived_seed(seed, *names))  # noqa: S311 - replayable on purpose, no secret hangs on it
