"""What a recipe does where it strikes: the effects that every protocol has, and how their words are read."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from random import Random
from typing import Protocol

from premortem.errors import ConfigurationError

_NUMBER = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_DELAY = re.compile(rf"{_NUMBER}(?:\.\.{_NUMBER})?")
_LONGEST_S = 3600.0


class Effect(Protocol):
    """Whatever strikes; `words` ends the sentence that tells of a hit."""

    @property
    def words(self) -> str:
        """How a hit is told."""
        ...


@dataclass(frozen=True, slots=True)
class End:
    """The connection ends: for the client with a reset, or orderly."""

    reset: bool = True

    @property
    def words(self) -> str:
        """How a hit is told."""
        return "the connection was reset" if self.reset else "the connection was closed"


@dataclass(frozen=True, slots=True)
class Delay:
    """It waits from `least_s` to `most_s` seconds, drawn anew for every strike."""

    least_s: float
    most_s: float

    @property
    def words(self) -> str:
        """How a hit is told."""
        between = f" to {self.most_s:g}" if self.most_s != self.least_s else ""
        return f"it waited for {self.least_s:g}{between} s"

    def draw(self, random: Random) -> float:
        """Seconds."""
        return self.least_s if self.least_s == self.most_s else random.uniform(self.least_s, self.most_s)


def common_effect(text: str) -> End | Delay | None:
    """`cut` (the default), `close`, `delay SECONDS` or `delay LEAST..MOST`; None for what is no common effect."""
    word, _, rest = text.partition(" ")
    if text in {"", "cut"}:
        return End()
    if text == "close":
        return End(reset=False)
    if word != "delay":
        return None
    form = _DELAY.fullmatch(rest.strip())
    least, most = (float(form[1]), float(form[2] or form[1])) if form else (math.nan, math.nan)
    if not 0 <= least <= most <= _LONGEST_S:
        raise ConfigurationError(
            f"{text!r}: a delay is from 0 to {_LONGEST_S:g} seconds; write delay 0.5, or delay 0.1..0.3 for a drawn one"
        )
    return Delay(least, most)
