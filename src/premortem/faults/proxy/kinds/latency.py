"""Latency: every byte arrives later, and in order."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Last, Stage, Timed


@dataclass(frozen=True, slots=True)
class Latency(Fault):
    """Each piece waits `delay_s` seconds, more or less by up to `jitter_s`, evenly drawn. The end waits, too.

    A wait that would be below 0 is none: with much jitter some pieces come at once, and none comes early.
    """

    name = "latency"

    delay_s: float
    jitter_s: float = 0.0

    def check(self) -> None:
        """No time machine."""
        self.require("delay_s", self.delay_s >= 0, "0 seconds or more")
        self.require("jitter_s", self.jitter_s >= 0, "0 seconds or more")

    def stage(self, draws: Draws) -> Stage:
        """It holds."""
        return _Latency(self, draws)


class _Latency(Stage):
    def __init__(self, fault: Latency, draws: Draws) -> None:
        super().__init__()
        self._fault = fault
        self._draws = draws

    def feed(self, now: float, data: bytes) -> list[Timed]:
        return [(now + self._delay_s(f"{len(data)} bytes"), data)]

    def finish(self, now: float, last: Last) -> list[Timed]:
        return [(now + self._delay_s("the end"), last)]

    def _delay_s(self, what: str) -> float:
        spread = self._fault.jitter_s
        delay_s = max(0.0, self._fault.delay_s + (spread * (2 * self._draws.uniform() - 1) if spread else 0.0))
        if delay_s > 0 and not self.struck:
            self.struck = f"{what} held for {delay_s * 1000:.3g} ms"
        return delay_s
