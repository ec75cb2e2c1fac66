"""How policies know the time and wait: one object, so that a test can put another time in its place.

Every state reads `TIME.monotonic()` and every wait is `TIME.sleep` or `TIME.sleep_async`, looked up when it is used.
`premortem.policies.testing.virtual_time` replaces the three for a block; nothing else ever does.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable


class Time:
    """Seconds since some moment, and two ways of letting some pass."""

    __slots__ = ("monotonic", "sleep", "sleep_async")

    def __init__(self) -> None:
        self.monotonic: Callable[[], float] = time.monotonic
        self.sleep: Callable[[float], None] = time.sleep
        self.sleep_async: Callable[[float], Awaitable[None]] = _sleep_async


async def _sleep_async(seconds: float) -> None:
    import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

    await asyncio.sleep(seconds)


TIME = Time()
