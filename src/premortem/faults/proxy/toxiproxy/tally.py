"""What the toxics of a proxy have hit: each strike is handed out once, and all are counted."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from premortem.faults.proxy import Armed, Strike
from premortem.faults.proxy.toxiproxy.toxics import Toxic

UNTOLD = 10_000
"""So many strikes are kept for whoever asks what was hit."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A strike, and whose it was."""

    proxy: str
    toxic: Toxic
    strike: Strike


@dataclass(slots=True)
class Held:
    """A toxic; `armed` while its proxy is open; so many of its strikes were taken note of."""

    toxic: Toxic
    armed: Armed | None = None
    noted: int = 0


class Tally:
    """Of one proxy. What nobody asks for is kept up to a limit; the counts are whole."""

    def __init__(self, proxy: str) -> None:
        self._proxy = proxy
        self._untold: deque[Hit] = deque(maxlen=UNTOLD)
        self._counts: dict[str, int] = {}

    def note(self, held: Held) -> None:
        """Take down what it has struck since the last time; from its arming on it is counted, with 0."""
        if held.armed is None:
            return
        strikes = held.armed.strikes
        new = strikes[held.noted :]
        held.noted = len(strikes)
        self._untold.extend(Hit(self._proxy, held.toxic, strike) for strike in new)
        self._counts[str(held.toxic)] = self._counts.get(str(held.toxic), 0) + len(new)

    def untold(self) -> tuple[Hit, ...]:
        """The strikes since the last time this was asked."""
        untold = tuple(self._untold)
        self._untold.clear()
        return untold

    def counts(self) -> dict[str, int]:
        """Every toxic that was armed, in words, and how often it struck."""
        return dict(self._counts)
