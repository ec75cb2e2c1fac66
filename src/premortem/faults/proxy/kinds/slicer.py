"""Slicer: the stream comes in small pieces, as a reader must be ready for."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Stage, Timed


@dataclass(frozen=True, slots=True)
class Slicer(Fault):
    """Pieces of `size_bytes`, more or less by up to `spread_bytes`, each `pause_s` seconds after the one before."""

    name = "slicer"

    size_bytes: int
    spread_bytes: int = 0
    pause_s: float = 0.0

    def check(self) -> None:
        """Pieces that are pieces."""
        self.require("size_bytes", self.size_bytes >= 1, "1 byte or more")
        self.require("spread_bytes", 0 <= self.spread_bytes < self.size_bytes, "from 0 to below size_bytes")
        self.require("pause_s", self.pause_s >= 0, "0 seconds or more")

    def stage(self, draws: Draws) -> Stage:
        """It cuts."""
        return _Slicer(self, draws)


class _Slicer(Stage):
    def __init__(self, fault: Slicer, draws: Draws) -> None:
        super().__init__()
        self._fault = fault
        self._draws = draws
        self._last_at = 0.0

    def feed(self, now: float, data: bytes) -> list[Timed]:
        fault, given, start = self._fault, list[Timed](), 0
        while start < len(data):
            size = self._draws.between(fault.size_bytes - fault.spread_bytes, fault.size_bytes + fault.spread_bytes)
            self._last_at = max(now, self._last_at + fault.pause_s)
            given.append((self._last_at, data[start : start + size]))
            start += size
        if len(given) > 1 and not self.struck:
            self.struck = f"{len(data)} bytes cut into {len(given)} pieces"
        return given
