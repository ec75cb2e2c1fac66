"""How long to wait before the next attempt: values that can be compared, printed and written as data.

Jitter as in Marc Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): `full` spreads clients
best, `equal` keeps half of the wait certain, `decorrelated` grows from what was waited last.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal, Protocol

from premortem.errors import ConfigurationError
from premortem.policies import checks

Jitter = Literal["full", "equal", "decorrelated", "none"]
JITTERS = ("full", "equal", "decorrelated", "none")
_DOUBLINGS = 64  # 2.0 ** 1024 overflows; after 64 doublings any cap is long reached


class Wait(Protocol):
    """How long to wait: a value with one method. Write a dataclass of your own where these two do not fit."""

    def seconds(self, attempt: int, last_s: float, chance: random.Random) -> float:
        """Seconds, 0 to 3600, after attempt `attempt` (from 1) failed; `last_s` is the wait before it, 0 for none."""
        ...


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits that grow: `base_s` seconds, doubled with each attempt, at most `cap_s`, spread by `jitter`.

    0.1 s and 10 s: a first wait in the order of a request's own time, a last one that a person still sits out.
    """

    base_s: float = 0.1
    cap_s: float = 10.0
    jitter: Jitter = "full"

    def __post_init__(self) -> None:
        checks.seconds("Backoff.base_s", self.base_s)
        checks.seconds("Backoff.cap_s", self.cap_s, low=self.base_s)
        if self.jitter not in JITTERS:
            raise ConfigurationError(f"Backoff.jitter = {self.jitter!r}: has to be one of {', '.join(JITTERS)}")

    def seconds(self, attempt: int, last_s: float, chance: random.Random) -> float:
        """As `Wait.seconds`: from 0 to `cap_s`."""
        if self.jitter == "decorrelated":
            return min(self.cap_s, chance.uniform(self.base_s, max(self.base_s, last_s * 3)))
        most = min(self.cap_s, self.base_s * 2.0 ** min(attempt - 1, _DOUBLINGS))
        if self.jitter == "full":
            return chance.uniform(0, most)
        return most / 2 + chance.uniform(0, most / 2) if self.jitter == "equal" else most


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same wait every time, in seconds; 0 for none."""

    wait_s: float

    def __post_init__(self) -> None:
        checks.number("Fixed.wait_s", self.wait_s, 0, 3600, "seconds")

    def seconds(self, attempt: int, last_s: float, chance: random.Random) -> float:  # noqa: ARG002 - as Backoff
        """As `Wait.seconds`."""
        return self.wait_s
