"""A blocking call in a thread for a coroutine that may be cancelled meanwhile: nothing that was taken is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


async def apart(call: Callable[[], T], *, inline: bool) -> T:
    """Call in a thread, or right here where the call belongs to this one. A cancellation does not stop it."""
    if inline:
        return call()
    import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

    return await asyncio.to_thread(call)


class Handover(Generic[T]):
    """Takes something by `take()`, and gives it back by `give_back()` if whoever waited for it has gone."""

    def __init__(self, take: Callable[[], T], give_back: Callable[[], object]) -> None:
        self._take, self._give_back = take, give_back
        self._lock = threading.Lock()
        self._taken = self._left = False

    async def received(self, *, inline: bool) -> T:
        """What was taken."""
        import asyncio  # noqa: PLC0415 - as above

        try:
            return await apart(self._call, inline=inline)
        except asyncio.CancelledError:
            with self._lock:
                self._left = True
                late = self._taken
            if late:
                await apart(self._give_back, inline=inline)
            raise

    def _call(self) -> T:
        taken = self._take()
        with self._lock:
            self._taken = True
            left = self._left
        if left:
            self._give_back()
        return taken
