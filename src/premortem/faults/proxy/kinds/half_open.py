"""Half-open: the server's side has gone without a word, and the client still believes in its connection.

That is what is left of a connection when the other host lost its power, or a firewall forgot it.
"""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fate, Fault
from premortem.faults.proxy.stream import Stage, Swallow


@dataclass(frozen=True, slots=True)
class HalfOpen(Fault):
    """The connection to the server is really closed; the client's stays open and silent, and is reset when lifted."""

    name = "half_open"
    swallows = True

    def check(self) -> None:
        """There is no half of it."""
        self.require("direction", self.direction == "both", "'both': it is the server that has gone")

    def stage(self, draws: Draws) -> Stage:  # noqa: ARG002 - no luck in it
        """The server is not there to hear it."""
        return Swallow("sent to a server that has gone", lost=True)

    def fate(self, *, live: bool, nth: int) -> Fate:  # noqa: ARG002 - all are alike
        """The server goes."""
        return Fate("abandon", "the server has gone, the client was not told")
