"""What a careful engineer writes at one call site with the standard library: one function, no `*args`, no decorator.

Retry is `for attempt in range(...)`; breaker and token bucket are a small class each, whose methods are called; written
for threads or for one event loop, not for both: the synchronous one takes `threading.BoundedSemaphore` and locks the
bucket, the asynchronous one takes `asyncio.Semaphore`, `asyncio.timeout` and no lock. The breaker asks for its lock on
failures only; open, it lets one probe through. No events, no notes on exceptions, no Retry-After, no deadline, no
nested retries, nothing to switch by hand.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

ATTEMPTS = 3
WAIT_S = 0.0
PERMITS = 100
RATE_PER_S = 1_000_000.0
TIMEOUT_S = 30.0


class RejectedError(Exception):
    """The call was not let in."""


class Breaker:
    """Five failures in 30 s open it for an hour; then one probe decides."""

    def __init__(self) -> None:
        self._closed = True
        self._failed_at: deque[float] = deque(maxlen=5)
        self._opened_at = 0.0
        self._probing = False
        self._lock = threading.Lock()

    def admit(self) -> bool:
        """Whether this call is the probe; RejectedError where it may not go."""
        if self._closed:
            return False
        with self._lock:
            return self._probe()

    def _probe(self) -> bool:
        """The same under the lock."""
        if self._closed:
            return False
        if self._probing or time.monotonic() - self._opened_at < 3600:  # noqa: PLR2004 - an hour
            raise RejectedError("open")
        self._probing = True
        return True

    def failed(self, *, probe: bool) -> None:
        """Count it."""
        with self._lock:
            now = time.monotonic()
            self._failed_at.append(now)
            burst = len(self._failed_at) == self._failed_at.maxlen and now - self._failed_at[0] <= 30  # noqa: PLR2004
            if probe or (burst and self._closed):
                self._closed, self._opened_at = False, now
            if probe:
                self._probing = False

    def recovered(self) -> None:
        """The probe came back."""
        with self._lock:
            self._closed, self._probing = True, False
            self._failed_at.clear()

    def released(self) -> None:
        """The probe was cancelled."""
        with self._lock:
            self._probing = False


class Bucket:
    """A token bucket; `lock` where threads use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._tokens = RATE_PER_S
        self._filled_at = time.monotonic()

    def take(self) -> None:
        """One token, or RejectedError."""
        now = time.monotonic()
        tokens = self._tokens + (now - self._filled_at) * RATE_PER_S
        self._tokens = tokens = min(tokens, RATE_PER_S)
        self._filled_at = now
        if tokens < 1:
            raise RejectedError("rate")
        self._tokens = tokens - 1


Call = Callable[[int], int]
AsyncCall = Callable[[int], Awaitable[int]]


def retry(function: Call) -> Call:
    """Up to three attempts."""

    def call(x: int) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return function(x)
            except ValueError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(WAIT_S)
        raise AssertionError("the last attempt returns or raises")

    return call


def breaker(function: Call) -> Call:
    """A breaker."""
    state = Breaker()

    def call(x: int) -> int:
        probe = state.admit()
        try:
            result = function(x)
        except Exception:
            state.failed(probe=probe)
            raise
        except BaseException:
            if probe:
                state.released()
            raise
        if probe:
            state.recovered()
        return result

    return call


def bulkhead(function: Call) -> Call:
    """A hundred permits."""
    permits = threading.BoundedSemaphore(PERMITS)

    def call(x: int) -> int:
        if not permits.acquire(blocking=False):
            raise RejectedError("full")
        try:
            return function(x)
        finally:
            permits.release()

    return call


def rate(function: Call) -> Call:
    """A rate."""
    bucket = Bucket()

    def call(x: int) -> int:
        with bucket.lock:
            bucket.take()
        return function(x)

    return call


def stack(function: Call) -> Call:  # noqa: C901 - inline means in one piece
    """All of the above."""
    state, bucket, permits = Breaker(), Bucket(), threading.BoundedSemaphore(PERMITS)

    def call(x: int) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                probe = state.admit()
                try:
                    with bucket.lock:
                        bucket.take()
                    if not permits.acquire(blocking=False):
                        raise RejectedError("full")  # noqa: TRY301 - one function, as it would stand there
                    try:
                        result = function(x)
                    finally:
                        permits.release()
                except Exception:
                    state.failed(probe=probe)
                    raise
                except BaseException:
                    if probe:
                        state.released()
                    raise
                if probe:
                    state.recovered()
            except ValueError:
                if attempt == ATTEMPTS:
                    raise
                time.sleep(WAIT_S)
            else:
                return result
        raise AssertionError("the last attempt returns or raises")

    return call


def retry_async(function: AsyncCall) -> AsyncCall:
    """Up to three attempts."""

    async def call(x: int) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await function(x)
            except ValueError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(WAIT_S)
        raise AssertionError("the last attempt returns or raises")

    return call


def breaker_async(function: AsyncCall) -> AsyncCall:
    """A breaker."""
    state = Breaker()

    async def call(x: int) -> int:
        probe = state.admit()
        try:
            result = await function(x)
        except Exception:
            state.failed(probe=probe)
            raise
        except BaseException:
            if probe:
                state.released()
            raise
        if probe:
            state.recovered()
        return result

    return call


def bulkhead_async(function: AsyncCall) -> AsyncCall:
    """A hundred permits."""
    permits = asyncio.Semaphore(PERMITS)

    async def call(x: int) -> int:
        if permits.locked():
            raise RejectedError("full")
        async with permits:
            return await function(x)

    return call


def rate_async(function: AsyncCall) -> AsyncCall:
    """A rate."""
    bucket = Bucket()

    async def call(x: int) -> int:
        bucket.take()
        return await function(x)

    return call


def timeout_async(function: AsyncCall) -> AsyncCall:
    """A timeout."""

    async def call(x: int) -> int:
        async with asyncio.timeout(TIMEOUT_S):
            return await function(x)

    return call


def stack_async(function: AsyncCall) -> AsyncCall:  # noqa: C901 - inline means in one piece
    """All but the timeout."""
    state, bucket, permits = Breaker(), Bucket(), asyncio.Semaphore(PERMITS)

    async def call(x: int) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                probe = state.admit()
                try:
                    bucket.take()
                    if permits.locked():
                        raise RejectedError("full")  # noqa: TRY301 - one function, as it would stand there
                    async with permits:
                        result = await function(x)
                except Exception:
                    state.failed(probe=probe)
                    raise
                except BaseException:
                    if probe:
                        state.released()
                    raise
                if probe:
                    state.recovered()
            except ValueError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(WAIT_S)
            else:
                return result
        raise AssertionError("the last attempt returns or raises")

    return call


def full_async(function: AsyncCall) -> AsyncCall:  # noqa: C901 - inline means in one piece
    """All of it."""
    state, bucket, permits = Breaker(), Bucket(), asyncio.Semaphore(PERMITS)

    async def call(x: int) -> int:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                probe = state.admit()
                try:
                    bucket.take()
                    if permits.locked():
                        raise RejectedError("full")  # noqa: TRY301 - one function, as it would stand there
                    async with permits, asyncio.timeout(TIMEOUT_S):
                        result = await function(x)
                except Exception:
                    state.failed(probe=probe)
                    raise
                except BaseException:
                    if probe:
                        state.released()
                    raise
                if probe:
                    state.recovered()
            except ValueError:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(WAIT_S)
            else:
                return result
        raise AssertionError("the last attempt returns or raises")

    return call


SYNC: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry,
    "breaker": lambda: breaker,
    "bulkhead": lambda: bulkhead,
    "rate": lambda: rate,
    "stack": lambda: stack,
}
ASYNC: dict[str, Callable[[], Any]] = {
    "retry": lambda: retry_async,
    "breaker": lambda: breaker_async,
    "bulkhead": lambda: bulkhead_async,
    "rate": lambda: rate_async,
    "timeout": lambda: timeout_async,
    "stack": lambda: stack_async,
    "full": lambda: full_async,
}
