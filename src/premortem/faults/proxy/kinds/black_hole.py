"""Black hole: connections stay open, and nothing comes through any more.

That is what a dropped route, a dead NAT entry or a frozen host looks like: no error, no end, no answer. A connection
that lost bytes is reset when the hole is lifted: nobody could go on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fate, Fault
from premortem.faults.proxy.stream import Stage, Swallow


@dataclass(frozen=True, slots=True)
class BlackHole(Fault):
    """Swallows every byte and every end; `close_after_s` seconds after it met a connection, that ends in order."""

    name = "black_hole"
    swallows = True

    close_after_s: float | None = None

    def check(self) -> None:
        """An end that comes at once is no hole."""
        self.require("close_after_s", self.close_after_s is None or self.close_after_s > 0, "above 0 seconds, or None")

    def stage(self, draws: Draws) -> Stage:  # noqa: ARG002 - no luck in it
        """It swallows."""
        return Swallow("swallowed")

    def fate(self, *, live: bool, nth: int) -> Fate | None:  # noqa: ARG002 - all are alike
        """It ends, where that was asked for."""
        if self.close_after_s is None:
            return None
        return Fate("close", f"ended after {self.close_after_s:g} s of silence", self.close_after_s)
