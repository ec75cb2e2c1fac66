"""One timer of an event loop for all calls with the same limit: a call puts itself into a dict, and takes itself out.

Calls with one limit end in the order in which they began, so the dict's insertion order is the order of their
deadlines, and one `loop.call_later` for the oldest is enough: 1,000 calls share it, and a call that answers in time
costs a clock reading and two dict operations instead of a timer handle of its own.

A call that is late is cancelled, with the bookkeeping of `asyncio.timeout`: what we asked for with
`Task.cancel` we take back with `Task.uncancel`, and when more cancellations are asked for than were when the call
began, somebody else wants the task to end, too: that goes on as it is, and is never turned into a timeout.

asyncio is imported when the first `AsyncLimit` is made, which is when a coroutine function is decorated.
"""

from __future__ import annotations

import contextvars
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

from premortem.events import emit
from premortem.policies.ambient import get_until
from premortem.policies.rejections import DeadlineExceededError, TimeLimitError
from premortem.policies.timing import TIME

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

# Weak on both sides: a timer that ticks knows its loop, and must not keep one alive that has been closed.
_registry: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.WeakValueDictionary[float, SharedTimer]] = (
    weakref.WeakKeyDictionary()
)
_change = threading.Lock()


class Call:
    """A call that its task alone does not identify: nested in one with the same limit, or in a task already cancelled.

    `before` is how many cancellations were asked for when it began.
    """

    __slots__ = ("before", "task")

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self.task = task
        self.before = task.cancelling()

    def cancel(self) -> None:
        """The call is late."""
        self.task.cancel()


class Alarm(Call):
    """A call with a timer of its own, because the ambient deadline comes before its limit."""

    __slots__ = ("fired", "handle", "left_s")

    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop, left_s: float) -> None:
        super().__init__(task)
        self.fired = False
        self.left_s = left_s
        self.handle = loop.call_later(left_s, self.cancel)

    def cancel(self) -> None:
        """The call is late."""
        self.fired = True
        self.task.cancel()


Key = Any  # asyncio.Task, or Call where the task does not identify the call
Calls = dict[Key, float]
_NO_CALLS: Calls = {}  # always empty: what an Alarm is in, so that leaving it always takes the long way


class SharedTimer:
    """Cancels the calls of one loop with one limit that are late. Used by the thread of that loop only.

    `calls` maps a key to the moment of its deadline. `ticking_in` is the loop while the timer runs, else None: one
    comparison tells a call that the timer is the right one and running.
    """

    __slots__ = ("__weakref__", "_context", "_planned", "calls", "limit_s", "ticking_in")

    def __init__(self, limit_s: float) -> None:
        self.calls: Calls = {}
        self.limit_s = limit_s
        self.ticking_in: asyncio.AbstractEventLoop | None = None
        self._planned = 0.0
        self._context = contextvars.Context()  # an empty one: the timer outlives the call that starts it

    def start(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Begin to tick, when there are no calls yet."""
        self.ticking_in = loop
        self._plan(loop, now + self.limit_s, now)

    def _plan(self, loop: asyncio.AbstractEventLoop, when: float, now: float) -> None:
        self._planned = when
        loop.call_later(max(0.0, when - now), self._tick, context=self._context)

    def _tick(self) -> None:
        # The loop says that the time has come, and its clock may be a hair behind ours.
        loop = self.ticking_in
        when = self.expire(max(TIME.monotonic(), self._planned))
        if when is None:
            self.ticking_in = None
        elif loop is not None:
            self._plan(loop, when, TIME.monotonic())

    def expire(self, now: float) -> float | None:
        """Cancel what is late at `now`; the next deadline, None when no call is left."""
        calls = self.calls
        while calls:
            key = next(iter(calls))
            when = calls[key]
            if when > now:
                return when
            del calls[key]
            key.cancel()
        return None


_IDLE = SharedTimer(0)


def expire_due() -> None:
    """Cancel what is late now in the running loop, for whoever moved a virtual clock: a timer ticks by the real one."""
    import asyncio  # noqa: PLC0415 - see the top

    for timer in list(_registry.get(asyncio.get_running_loop(), {}).values()):
        timer.expire(TIME.monotonic())


def _timer_of(loop: asyncio.AbstractEventLoop, limit_s: float) -> SharedTimer:
    with _change:
        timers = _registry.setdefault(loop, weakref.WeakValueDictionary())
        timer = timers.get(limit_s)
        if timer is None:
            timer = timers[limit_s] = SharedTimer(limit_s)
        return timer


class AsyncLimit:
    """A time limit for coroutines: `enter` before the call, then `late` or `failed` if it is no longer in `calls`.

    Around a call, and this may be written out in place (`timeouts.py` does):

        loop = get_loop(); task = task_of(loop); timer = limit.timer; calls = timer.calls
        until = get_until(); when = TIME.monotonic() + limit_s
        if (timer.ticking_in is loop and (until is None or until >= when)
                and task not in calls and not task.cancelling()):
            calls[task] = when
            key = task
        else:
            key, calls = enter()
        try:
            result = await inner()
        except BaseException as error:
            failed(calls, key, error)       # raises the time limit's error if it was ours
            raise
        if calls.pop(key, None) is None:    # it has been cancelled, and answered all the same
            late(key)
    """

    __slots__ = ("_cancelled", "_error", "_event", "get_loop", "limit_s", "policy", "task_of", "timer")

    def __init__(self, policy: str, limit_s: float, error: type[TimeLimitError], event: str) -> None:
        import asyncio  # noqa: PLC0415 - see the top

        self.policy = policy
        self.limit_s = limit_s
        self.timer = _IDLE
        """The timer of the loop that was seen last: loops change rarely."""
        self._error = error
        self._event = event
        self._cancelled = asyncio.CancelledError
        self.get_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.get_running_loop
        self.task_of: Callable[[asyncio.AbstractEventLoop], asyncio.Task[Any] | None] = asyncio.current_task
        if sys.version_info < (3, 12):  # where current_task is written in Python, around this
            self.task_of = asyncio.tasks._current_tasks.get  # type: ignore[attr-defined]  # noqa: SLF001

    def enter(self) -> tuple[Key, Calls]:
        """Begin a call, wherever it stands; DeadlineExceededError when the ambient deadline is over already."""
        loop = self.get_loop()
        task = self.task_of(loop)
        if task is None:
            raise RuntimeError(f"policy {self.policy!r}: a time limit can interrupt only a task; use create_task")
        now, until = TIME.monotonic(), get_until()
        if until is not None and until < now + self.limit_s:
            if until <= now:
                raise DeadlineExceededError(self.policy, 0.0)
            return Alarm(task, loop, until - now), _NO_CALLS
        timer = self.timer
        if timer.ticking_in is not loop:
            timer = self.timer = _timer_of(loop, self.limit_s)
            if timer.ticking_in is None:
                timer.start(loop, now)
        key = Call(task) if task.cancelling() or task in timer.calls else task
        timer.calls[key] = now + self.limit_s
        return key, timer.calls

    def failed(self, calls: Calls, key: Key, error: BaseException) -> None:
        """End a call that raised; raises the error of this limit if the cancellation was ours, else returns."""
        if calls.pop(key, None) is not None or not self._fired(key):
            return
        task, before = (key.task, key.before) if isinstance(key, Call) else (key, 0)
        asked = task.uncancel()
        if isinstance(error, self._cancelled):
            if asked <= before:
                self._raise(key, error)
        else:  # cleaning up went wrong, or the function has an error of its own for being cancelled
            error.add_note(f"premortem: policy {self.policy!r}: raised after the time limit had cancelled the call")

    def late(self, key: Key) -> None:
        """End a call that answered though it is out of `calls`: an Alarm, or one that ignored its cancellation."""
        if self._fired(key):
            (key.task if isinstance(key, Call) else key).uncancel()
            emit("policy.timeout_ignored", policy=self.policy, limit_s=self.limit_s)

    def _fired(self, key: Key) -> bool:
        if not isinstance(key, Alarm):
            return True
        key.handle.cancel()
        return key.fired

    def _raise(self, key: Key, error: BaseException) -> NoReturn:
        if isinstance(key, Alarm):
            emit("policy.deadline", policy=self.policy, limit_s=key.left_s)
            raise DeadlineExceededError(self.policy, key.left_s) from error
        emit(self._event, policy=self.policy, limit_s=self.limit_s)
        raise self._error(self.policy, self.limit_s) from error
