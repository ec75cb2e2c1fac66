"""Fail first: the first so many new connections are reset, and the ones after that are served: for testing retries."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.kinds.fault import Fate, Fault


@dataclass(frozen=True, slots=True)
class FailFirst(Fault):
    """The first `n` connections that are made after it was armed are reset; those that live are left alone."""

    name = "fail_first"

    n: int

    def check(self) -> None:
        """It has to fail one."""
        self.require("n", self.n >= 1, "1 connection or more")

    def fate(self, *, live: bool, nth: int) -> Fate | None:
        """One of the first is reset."""
        return None if live or nth > self.n else Fate("reset", f"reset as number {nth} of the first {self.n}")
