"""A number of permits that threads and the tasks of any number of event loops take from one pot.

The happy path has no lock: the free permits are a deque, whose pop and append are atomic (one call into C, and on
builds without the GIL under the deque's own lock). Whoever finds it empty may queue, first come, first served.

Why no wake-up is lost: a releaser appends its permit and *then* looks for waiters; a waiter registers and *then* looks
for permits. Whichever comes first, the other one sees it. Permits go from hand to hand: `wake` takes a free one and
gives it to the first in the queue, so that a newcomer cannot outrun the queue but in the instant between the two.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from premortem.policies import checks
from premortem.policies.timing import TIME

if TYPE_CHECKING:
    import asyncio


@dataclass(frozen=True, slots=True)
class PermitsSnapshot:
    """How many permits there are, are taken, and are waited for, at one moment."""

    limit: int
    in_use: int
    waiting: int


class Permits:
    """`limit` permits and a queue of at most `queue_limit` callers; thread-safe, bound to no event loop."""

    __slots__ = ("_debt", "_free", "_lock", "give", "limit", "queue_limit", "take", "waiters")

    def __init__(self, limit: int, queue_limit: int = 0) -> None:
        self.limit = checks.whole("Permits.limit", limit, 1, 1_000_000)
        self.queue_limit = checks.whole("Permits.queue_limit", queue_limit, 0, 1_000_000)
        self._free: deque[None] = deque([None] * limit)
        self.waiters: deque[_Waiter] = deque()
        """Those who wait, in order: true when there is somebody. Only to look at."""
        self._debt = 0  # permits that `resize` took away while they were in use
        # Reentrant: the collector may close a forgotten coroutine that waits here in the midst of anything.
        self._lock = threading.RLock()
        self.take: Callable[[], None] = self._free.pop
        """Take a permit; IndexError when none is free. One atomic call."""
        self.give: Callable[[None], None] = self._free.append
        """Give one back: `give(None)`, then `if waiters: wake()`. Not for permits that are resized: see `release`."""

    def try_acquire(self) -> bool:
        """Take a permit if one is free; never waits."""
        try:
            self.take()
        except IndexError:
            return False
        return True

    def acquire(self, wait_s: float) -> bool:
        """Take a permit from a thread, queueing for up to `wait_s` seconds; False if there was none for us."""
        if self.try_acquire():
            return True
        if wait_s <= 0:
            return False
        waiter = _Thread()
        if not self._queue(waiter):
            return False
        try:
            if not waiter.granted:
                waiter.wait(wait_s)
        except BaseException:
            self._leave(waiter)
            raise
        return self._outcome(waiter)

    async def acquire_async(self, wait_s: float) -> bool:
        """The same from a task, without blocking its loop; a cancelled one passes on what it was just given."""
        if self.try_acquire():
            return True
        if wait_s <= 0:
            return False
        import asyncio  # noqa: PLC0415 - a loop runs, so it is loaded; a synchronous program never comes here

        waiter = _Task(asyncio.get_running_loop, asyncio.get_running_loop())
        if not self._queue(waiter):
            return False
        if waiter.granted:
            return True
        timer = asyncio.ensure_future(TIME.sleep_async(wait_s))
        timer.add_done_callback(waiter.rouse)
        try:
            await waiter.future
        except BaseException:
            self._leave(waiter)
            raise
        finally:
            timer.cancel()
        return self._outcome(waiter)

    def release(self) -> None:
        """Give a permit back, and wake the first in the queue."""
        if self._debt:
            with self._lock:
                if self._debt:
                    self._debt -= 1
                    return
        self.give(None)
        if self.waiters:
            self.wake()

    def wake(self) -> None:
        """Hand free permits to those who wait, in order."""
        with self._lock:
            while self.waiters:
                try:
                    self.take()
                except IndexError:
                    return  # whoever was faster wakes the queue when it gives the permit back
                waiter = self.waiters.popleft()
                if waiter.rouse():
                    waiter.granted = True  # it looks under this lock, so it cannot look too early
                else:
                    self.give(None)  # its loop is closed: nobody is there to give it back

    def resize(self, limit: int) -> None:
        """Change the number of permits. Those in use beyond a smaller limit stay valid, and end with their calls."""
        checks.whole("Permits.limit", limit, 1, 1_000_000)
        with self._lock:
            change, self.limit = limit - self.limit, limit
            for _ in range(-change):
                if not self.try_acquire():
                    self._debt += 1
            for _ in range(change):
                if self._debt:
                    self._debt -= 1
                else:
                    self.give(None)
            self.wake()

    def snapshot(self) -> PermitsSnapshot:
        """The numbers of this moment; `in_use` may exceed a limit that was just made smaller."""
        with self._lock:
            return PermitsSnapshot(self.limit, self.in_use, len(self.waiters))

    @property
    def in_use(self) -> int:
        """Permits that are taken; without a lock, so only nearly right while others take and give."""
        return self.limit + self._debt - len(self._free)

    def _queue(self, waiter: _Waiter) -> bool:
        """Queue, then look for permits again; False when the queue is full."""
        with self._lock:
            if len(self.waiters) >= self.queue_limit:
                return False
            self.waiters.append(waiter)
            self.wake()
            return True

    def _outcome(self, waiter: _Waiter) -> bool:
        """Whether the waiter that is done waiting has a permit; if not, it leaves the queue."""
        with self._lock:
            if not waiter.granted and waiter in self.waiters:
                self.waiters.remove(waiter)
            return waiter.granted

    def _leave(self, waiter: _Waiter) -> None:
        """A waiter is interrupted: out of the queue, and on to the next with a permit that it was just given."""
        if self._outcome(waiter):
            self.release()


class _Thread:
    """A thread in the queue: it sleeps on a lock that `rouse` releases."""

    __slots__ = ("_latch", "granted")

    def __init__(self) -> None:
        self.granted = False
        self._latch = threading.Lock()
        self._latch.acquire()

    def rouse(self) -> bool:
        self._latch.release()
        return True

    def wait(self, wait_s: float) -> None:
        if TIME.sleep is time.sleep:
            self._latch.acquire(timeout=wait_s)
        else:  # a test's time: let it pass, and look what came of it
            TIME.sleep(wait_s)


class _Task:
    """A task in the queue: it awaits a future of its loop, which `rouse` may settle from any thread."""

    __slots__ = ("_running", "future", "granted", "loop")

    def __init__(self, running: Callable[[], object], loop: asyncio.AbstractEventLoop) -> None:
        self.granted = False
        self._running = running
        self.loop = loop
        self.future: asyncio.Future[None] = loop.create_future()

    def rouse(self, _timer: object = None) -> bool:
        """False when the loop is closed."""
        try:
            here = self._running() is self.loop
        except RuntimeError:  # no loop runs in this thread
            here = False
        if here:
            self._settle()
            return True
        try:
            self.loop.call_soon_threadsafe(self._settle)
        except RuntimeError:
            return False
        return True

    def _settle(self, *_: Any) -> None:
        if not self.future.done():
            self.future.set_result(None)


_Waiter = _Thread | _Task
