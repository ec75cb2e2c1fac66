"""Time limits: Timeout for one attempt, Deadline for all of it.

Laws:
- The caller is free when the time is over: a coroutine is cancelled, a function is left in its worker thread.
- A cancellation from outside is never turned into a timeout, and never swallowed, also when both come at once.
- The shorter one holds: a Timeout under an ambient deadline that comes first ends with DeadlineExceededError, which is
  never retried. A Deadline inside another one only shrinks it.
- A coroutine that swallows the cancellation and answers late has answered: its value is returned, as by
  `asyncio.timeout`, since what it did is done; the event `policy.timeout_ignored` says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import checks
from premortem.policies.ambient import get_until, reset_until, set_until
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.rejections import AttemptTimeoutError, DeadlineExceededError
from premortem.policies.timers import AsyncLimit
from premortem.policies.timing import TIME
from premortem.policies.workers import WORKERS


@dataclass(frozen=True, slots=True)
class Timeout:
    """One attempt may take `limit_s` seconds (0.001 to 3600); AttemptTimeoutError after that, which a Retry may retry.

    There is no default: the right one is a little above the slowest answer that is still worth having (the 99.9th
    percentile of the dependency; Brooker, "Timeouts, retries and backoff with jitter", Amazon Builders' Library).
    A function, unlike a coroutine, runs in a worker thread and goes on there when it has been left.
    """

    kind: ClassVar[str] = "timeout"

    limit_s: float

    def __post_init__(self) -> None:
        checks.seconds("Timeout.limit_s", self.limit_s)

    def layer(self, policy: str) -> TimeoutLayer:
        """As `layer.Spec`."""
        return TimeoutLayer(self, policy)


@dataclass(frozen=True, slots=True)
class Deadline:
    """All of it, every attempt and every wait, may take `limit_s` seconds (0.001 to 3600), then DeadlineExceededError.

    It is ambient: whatever is called inside sees it by `ambient.remaining_s()`, and no wait or timeout inside is
    longer. With `interrupt=False` nothing is interrupted by it: it is seen between attempts and by waits only, and
    costs no worker thread; for functions that give `remaining_s()` to their client as its timeout.
    """

    kind: ClassVar[str] = "deadline"

    limit_s: float
    interrupt: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        checks.seconds("Deadline.limit_s", self.limit_s)
        if not isinstance(self.interrupt, bool):
            raise ConfigurationError(f"Deadline.interrupt = {self.interrupt!r}: has to be True or False")

    def layer(self, policy: str) -> DeadlineLayer:
        """As `layer.Spec`."""
        return DeadlineLayer(self, policy)


class TimeoutLayer:
    """Calls once, and waits so long."""

    def __init__(self, spec: Timeout, policy: str) -> None:
        self.spec = spec
        self.policy = policy

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        policy, limit_s = self.policy, self.spec.limit_s

        @wraps(inner)
        def limited(*args: Any, **kwargs: Any) -> Any:
            until = get_until()
            left_s = limit_s if until is None else min(limit_s, _left(policy, until))
            job = WORKERS.call(policy, left_s, inner, args, kwargs)
            if job is not None:
                return job.answer()
            if left_s < limit_s:
                emit("policy.deadline", policy=policy, limit_s=left_s)
                raise DeadlineExceededError(policy, left_s)
            emit("policy.timeout", policy=policy, limit_s=limit_s)
            raise AttemptTimeoutError(policy, limit_s)

        return limited

    def limit_async(self) -> AsyncLimit:
        """The limit to write out around an await, for a chain that is one function."""
        return AsyncLimit(self.policy, self.spec.limit_s, AttemptTimeoutError, "policy.timeout")

    def around_block(self) -> AbstractAsyncContextManager[None]:
        """As `layer.Limiting`."""
        return _limited_block(self.limit_async())

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        limit, limit_s, clock = self.limit_async(), self.spec.limit_s, TIME
        get_loop, task_of, enter, failed, late = limit.get_loop, limit.task_of, limit.enter, limit.failed, limit.late

        @wraps(inner)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            loop = get_loop()
            task: Any = task_of(loop)
            timer = limit.timer
            calls, until, when = timer.calls, get_until(), clock.monotonic() + limit_s
            if (
                timer.ticking_in is loop
                and (until is None or until >= when)
                and task not in calls
                and not task.cancelling()
            ):
                calls[task] = when
                key = task
            else:
                key, calls = enter()
            try:
                result = await inner(*args, **kwargs)
            except BaseException as error:
                failed(calls, key, error)
                raise
            if calls.pop(key, None) is None:
                late(key)
            return result

        return limited


@asynccontextmanager
async def _limited_block(limit: AsyncLimit) -> AsyncIterator[None]:
    """As the drivers below, around a block."""
    key, calls = limit.enter()
    try:
        yield
    except BaseException as error:
        limit.failed(calls, key, error)
        raise
    if calls.pop(key, None) is None:
        limit.late(key)


class DeadlineLayer:
    """Sets the ambient deadline around one call, and ends the call when it is over."""

    def __init__(self, spec: Deadline, policy: str) -> None:
        self.spec = spec
        self.policy = policy

    def until(self) -> float:
        """The moment until which a call that begins now may take; DeadlineExceededError if that is past already."""
        until = TIME.monotonic() + self.spec.limit_s
        outer = get_until()
        if outer is None or outer > until:
            return until
        _left(self.policy, outer)
        return outer

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        if not self.spec.interrupt:
            return self._wrap_cooperative(inner)
        policy, begin = self.policy, self.until

        @wraps(inner)
        def limited(*args: Any, **kwargs: Any) -> Any:
            until = begin()
            token = set_until(until)  # before the worker copies the context
            try:
                left_s = _left(policy, until)
                job = WORKERS.call(policy, left_s, inner, args, kwargs)
            finally:
                reset_until(token)
            if job is not None:
                return job.answer()
            emit("policy.deadline", policy=policy, limit_s=left_s)
            raise DeadlineExceededError(policy, left_s)

        return limited

    def _wrap_cooperative(self, inner: Call) -> Call:
        begin = self.until

        @wraps(inner)
        def limited(*args: Any, **kwargs: Any) -> Any:
            token = set_until(begin())
            try:
                return inner(*args, **kwargs)
            finally:
                reset_until(token)

        return limited

    def limit_async(self) -> AsyncLimit:
        """The limit to write out around an await, for a chain that is one function."""
        return AsyncLimit(self.policy, self.spec.limit_s, DeadlineExceededError, "policy.deadline")

    @asynccontextmanager
    async def around_block(self) -> AsyncIterator[None]:
        """As `layer.Limiting`."""
        until = self.until()
        limited = _limited_block(self.limit_async()) if self.spec.interrupt else nullcontext()
        async with limited:
            token = set_until(until)
            try:
                yield
            finally:
                reset_until(token)

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        if not self.spec.interrupt:
            return self._wrap_async_cooperative(inner)
        limit, limit_s, clock, begin = self.limit_async(), self.spec.limit_s, TIME, self.until
        get_loop, task_of, enter, failed, late = limit.get_loop, limit.task_of, limit.enter, limit.failed, limit.late

        @wraps(inner)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            loop = get_loop()
            task: Any = task_of(loop)
            timer = limit.timer
            calls = timer.calls
            if timer.ticking_in is loop and get_until() is None and task not in calls and not task.cancelling():
                calls[task] = until = clock.monotonic() + limit_s
                key = task
            else:
                until = begin()
                key, calls = enter()
            token = set_until(until)
            try:
                result = await inner(*args, **kwargs)
            except BaseException as error:
                failed(calls, key, error)
                raise
            finally:
                reset_until(token)
            if calls.pop(key, None) is None:
                late(key)
            return result

        return limited

    def _wrap_async_cooperative(self, inner: AsyncCall) -> AsyncCall:
        begin = self.until

        @wraps(inner)
        async def limited(*args: Any, **kwargs: Any) -> Any:
            token = set_until(begin())
            try:
                return await inner(*args, **kwargs)
            finally:
                reset_until(token)

        return limited


def _left(policy: str, until: float) -> float:
    left_s = until - TIME.monotonic()
    if left_s > 0:
        return left_s
    raise DeadlineExceededError(policy, 0.0)
