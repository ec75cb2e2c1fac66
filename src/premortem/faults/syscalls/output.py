"""What a program printed, as much of it as anybody reads: the last 64 KiB."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

MOST_BYTES = 1 << 16


@dataclass(slots=True)
class Output:
    """Keeps the end of what comes, and says how much it left out."""

    left_out: int = 0
    _kept: bytearray = field(default_factory=bytearray)

    def take(self, descriptor: int) -> bool:
        """Read a piece of what is there, without waiting; whether there was any."""
        try:
            piece = os.read(descriptor, MOST_BYTES)
        except BlockingIOError:
            return False
        self.add(piece)
        return bool(piece)

    def add(self, piece: bytes) -> None:
        """One more piece."""
        self._kept += piece
        surplus = len(self._kept) - MOST_BYTES
        if surplus > 0:
            self.left_out += surplus
            del self._kept[:surplus]

    def __str__(self) -> str:
        text = self._kept.decode("utf-8", "replace")
        return f"[{self.left_out} bytes before this were left out]\n{text}" if self.left_out else text
