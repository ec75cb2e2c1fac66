"""Reset: a true RST, on connections that live and on new ones."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.kinds.fault import Fate, Fault


@dataclass(frozen=True, slots=True)
class Reset(Fault):
    """`after_s` seconds after it met a connection both sides are reset; with a direction that one alone."""

    name = "reset"

    after_s: float = 0.0

    def check(self) -> None:
        """No time machine."""
        self.require("after_s", self.after_s >= 0, "0 seconds or more")

    def fate(self, *, live: bool, nth: int) -> Fate:  # noqa: ARG002 - all are alike
        """It is reset."""
        return Fate("reset", "reset", self.after_s)
