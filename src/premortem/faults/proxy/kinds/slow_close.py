"""Slow close: the bytes come through in time, and the end of the connection comes late."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Last, Stage, Timed


@dataclass(frozen=True, slots=True)
class SlowClose(Fault):
    """The end waits `delay_s` seconds."""

    name = "slow_close"

    delay_s: float

    def check(self) -> None:
        """No time machine."""
        self.require("delay_s", self.delay_s >= 0, "0 seconds or more")

    def stage(self, draws: Draws) -> Stage:  # noqa: ARG002 - no luck in it
        """It holds the end."""
        return _SlowClose(self.delay_s)


class _SlowClose(Stage):
    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self._delay_s = delay_s

    def finish(self, now: float, last: Last) -> list[Timed]:
        if self._delay_s:
            self.struck = f"the end held for {self._delay_s:g} s"
        return [(now + self._delay_s, last)]
