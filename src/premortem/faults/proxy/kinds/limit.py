"""Limit: so many bytes come through, and then the connection ends in the middle of whatever it was saying."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Last, Stage, Timed


@dataclass(frozen=True, slots=True)
class Limit(Fault):
    """After `bytes_` bytes in one direction, counted from when it was armed, the connection ends in order."""

    name = "limit"

    bytes_: int

    def check(self) -> None:
        """No negative size."""
        self.require("bytes_", self.bytes_ >= 0, "0 bytes or more")

    def stage(self, draws: Draws) -> Stage:  # noqa: ARG002 - no luck in it
        """It counts."""
        return _Limit(self.bytes_)


class _Limit(Stage):
    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._left = size

    def feed(self, now: float, data: bytes) -> list[Timed]:
        if self.struck:
            return []
        passed = data[: self._left]
        self._left -= len(passed)
        given: list[Timed] = [(now, passed)] if passed else []
        if not self._left:
            self.struck = f"ended after {self._size} bytes"
            given.append((now, Last.CLOSE))
        return given
