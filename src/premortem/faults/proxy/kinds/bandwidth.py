"""Bandwidth: no more bytes a second than this, and the sender is held back."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Stage, Timed

_TICK_S = 0.01  # pieces of so much time: smooth, and not a thousand wake-ups a second
_LEAST_ROOM_BYTES = 16 << 10


@dataclass(frozen=True, slots=True)
class Bandwidth(Fault):
    """`bytes_per_s` through each direction of each connection; 0: nothing comes through, and nothing is lost."""

    name = "bandwidth"

    bytes_per_s: float

    def check(self) -> None:
        """No negative speed."""
        self.require("bytes_per_s", self.bytes_per_s >= 0, "0 bytes a second or more")

    def stage(self, draws: Draws) -> Stage:  # noqa: ARG002 - no luck in it
        """It lets through in pieces."""
        return _Bandwidth(self.bytes_per_s)


class _Bandwidth(Stage):
    def __init__(self, bytes_per_s: float) -> None:
        super().__init__()
        self._rate = bytes_per_s
        self._piece = max(1, int(bytes_per_s * _TICK_S))
        self._free_at = 0.0  # when the last byte will have gone
        self.room_bytes = max(_LEAST_ROOM_BYTES, int(bytes_per_s * 0.1))

    def feed(self, now: float, data: bytes) -> list[Timed]:
        self.struck = self.struck or f"slowed down to {self._rate:g} bytes a second"
        if not self._rate:
            return [(inf, data)]
        given: list[Timed] = []
        at = max(now, self._free_at)
        for start in range(0, len(data), self._piece):
            piece = data[start : start + self._piece]
            at += len(piece) / self._rate
            given.append((at, piece))
        self._free_at = at
        return given
