"""Random numbers that are the same on every machine and in every version: a function of the seed and of what for.

SplitMix64 (Steele, Lea and Flood 2014). `random` would bring hashlib and with it OpenSSL into the proxy's process.
"""

from __future__ import annotations

from binascii import crc32

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def _mixed(value: int) -> int:
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Draws:
    """One sequence of draws, of its own for every `seed`, connection and purpose."""

    def __init__(self, seed: int, connection: int, purpose: str) -> None:
        self._state = _mixed(_mixed(seed & _MASK) ^ _mixed(connection * _STEP & _MASK) ^ crc32(purpose.encode()))

    def uniform(self) -> float:
        """From 0 to below 1."""
        self._state = (self._state + _STEP) & _MASK
        return (_mixed(self._state) >> 11) * 2.0**-53

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.uniform() * (high - low + 1))


def lot(seed: int, connection: int) -> float:
    """The lot of a connection, from 0 to below 1: a fault strikes it whose share is above that.

    Drawn from nothing but these two, so no fault that comes or goes can draw it again.
    """
    return Draws(seed, connection, "share").uniform()
