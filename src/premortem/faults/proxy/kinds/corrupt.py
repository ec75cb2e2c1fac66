"""Corrupt: one bit in every so many bytes is flipped, which TCP's checksum would have found and TLS will."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.stream import Stage, Timed


@dataclass(frozen=True, slots=True)
class Corrupt(Fault):
    """The last of every `every_bytes` bytes of a direction, counted from when it was armed, has one bit flipped."""

    name = "corrupt"

    every_bytes: int

    def check(self) -> None:
        """It needs a byte to strike."""
        self.require("every_bytes", self.every_bytes >= 1, "1 byte or more")

    def stage(self, draws: Draws) -> Stage:
        """It flips."""
        return _Corrupt(self.every_bytes, draws)


class _Corrupt(Stage):
    def __init__(self, every_bytes: int, draws: Draws) -> None:
        super().__init__()
        self._every = every_bytes
        self._draws = draws
        self._seen = 0

    def feed(self, now: float, data: bytes) -> list[Timed]:
        first = self._every - 1 - self._seen % self._every
        changed = bytearray(data)
        for index in range(first, len(changed), self._every):
            changed[index] ^= 1 << self._draws.between(0, 7)
        if first < len(changed) and not self.struck:
            self.struck = f"byte {self._seen + first} changed"
        self._seen += len(data)
        return [(now, bytes(changed))]
