"""Concurrent callers of one key share one call: when a cached answer runs out, one caller fetches it anew, not all.

Laws:
- A leader that is cancelled, interrupted or out of its own time passes the lead on: one of those that wait calls anew.
- A caller that waits is free at its own deadline, and no lock is held while the function runs.
- A call that needs the same key within itself makes its own call instead of waiting for itself for ever.

Within one process and one decorated function. Prior art: Go's singleflight.
"""

from __future__ import annotations

import inspect
import threading
from collections import deque
from collections.abc import Callable, Hashable
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import ambient
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.stale import Key, key_of

_HAIR_S = 0.001  # a timer of a loop may fire this little too early

_leading: ContextVar[tuple[Flight, ...]] = ContextVar("premortem_leading", default=())


@dataclass(frozen=True, slots=True)
class SingleFlight:
    """Callers with the same `key`, by default the same arguments, get the answer of one call.

    With `share_errors` they get its error, too, the same exception object; without, each of those that waited tries
    for itself, one at a time. Everybody gets the same object as the answer.
    """

    kind: ClassVar[str] = "single_flight"

    key: Key | None = field(default=None, kw_only=True)
    share_errors: bool = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        if self.key is not None and not callable(self.key):
            raise ConfigurationError(f"SingleFlight.key = {self.key!r}: has to be a function of the call's arguments")
        if not isinstance(self.share_errors, bool):
            raise ConfigurationError(f"SingleFlight.share_errors = {self.share_errors!r}: has to be True or False")

    def layer(self, policy: str) -> SingleFlightLayer:
        """As `layer.Spec`."""
        return SingleFlightLayer(self, policy)


class Flight:
    """One call that others may wait for. A waiter is a function that wakes it, from any thread."""

    __slots__ = ("_waiters", "error", "landed", "passed_on", "result")

    def __init__(self) -> None:
        self._waiters: deque[Callable[[], None]] = deque()
        self.landed = False
        self.passed_on = False
        self.result: Any = None
        self.error: Exception | None = None

    def join(self, wake: Callable[[], None]) -> bool:
        """Be woken when it has landed; False when it has already.

        First into the queue, then the look; `land` looks first and then empties the queue: nobody is forgotten.
        """
        self._waiters.append(wake)
        return not self.landed

    def land(self) -> None:
        """Wake all that wait."""
        self.landed = True
        while self._waiters:
            self._waiters.popleft()()

    def answer(self) -> Any:
        """What the leader got."""
        if self.error is None:
            return self.result
        raise self.error.with_traceback(self.error.__traceback__)


class SingleFlightLayer:
    """The flights that are in the air, by key."""

    def __init__(self, spec: SingleFlight, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.flights: dict[Hashable, Flight] = {}

    def board(self, key: Hashable) -> tuple[Flight, bool]:
        """The flight of `key`, and whether this caller leads it. `setdefault` is atomic: one of many gets its own."""
        flight = self.flights.get(key)
        if flight is not None:
            return flight, False
        mine = Flight()
        flight = self.flights.setdefault(key, mine)
        return flight, flight is mine

    def land(self, key: Hashable, flight: Flight, error: BaseException | None) -> None:
        """End a flight that this caller leads."""
        if error is not None:
            if isinstance(error, Exception) and not _out_of_own_time(error):
                flight.error = error
                flight.passed_on = not self.spec.share_errors
            else:  # the leader's own affair, and not what the others came for
                flight.passed_on = True
                emit("policy.single_flight_passed_on", policy=self.policy, why=type(error).__name__)
        del self.flights[key]  # before anybody is woken: who comes now begins anew
        flight.land()

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        origin = inspect.unwrap(inner)

        @wraps(inner)
        def shared(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, origin, self.spec.key, args, kwargs)
            while True:
                flight, leads = self.board(key)
                if leads:
                    break
                if flight in _leading.get():
                    return inner(*args, **kwargs)
                self._wait(flight)
                if not flight.passed_on:
                    return flight.answer()
            token = _leading.set((*_leading.get(), flight))
            try:
                flight.result = inner(*args, **kwargs)
            except BaseException as error:
                self.land(key, flight, error)
                raise
            finally:
                _leading.reset(token)
            self.land(key, flight, None)
            return flight.result

        return shared

    def _wait(self, flight: Flight) -> None:
        left_s = ambient.remaining_s()
        landed = threading.Lock()
        landed.acquire()
        if not flight.join(landed.release) or landed.acquire(timeout=-1 if left_s is None else max(0.0, left_s)):
            return
        self._out_of_time(left_s)

    def _out_of_time(self, left_s: float | None) -> None:
        emit("policy.deadline", policy=self.policy, limit_s=left_s)
        raise DeadlineExceededError(self.policy, max(0.0, left_s or 0.0))

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        origin = inspect.unwrap(inner)

        @wraps(inner)
        async def shared(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, origin, self.spec.key, args, kwargs)
            while True:
                flight, leads = self.board(key)
                if leads:
                    break
                if flight in _leading.get():
                    return await inner(*args, **kwargs)
                await self._wait_async(flight)
                if not flight.passed_on:
                    return flight.answer()
            token = _leading.set((*_leading.get(), flight))
            try:
                flight.result = await inner(*args, **kwargs)
            except BaseException as error:
                self.land(key, flight, error)
                raise
            finally:
                _leading.reset(token)
            self.land(key, flight, None)
            return flight.result

        return shared

    async def _wait_async(self, flight: Flight) -> None:
        import asyncio  # noqa: PLC0415 - 70 ms that a synchronous program must not pay

        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake_from_anywhere() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # the loop that waited has been closed meanwhile: nobody is there to wake
                return

        left_s = ambient.remaining_s()
        handle = None if left_s is None else loop.call_later(max(0.0, left_s), wake)
        try:
            if flight.join(wake_from_anywhere):
                await woken
                if not flight.landed:
                    self._out_of_time(left_s)
        finally:
            if handle is not None:
                handle.cancel()


def _out_of_own_time(error: Exception) -> bool:
    """Whether the deadline that the leader itself is under is over, and not one that any leader would be under."""
    left_s = ambient.remaining_s()
    return isinstance(error, DeadlineExceededError) and left_s is not None and left_s < _HAIR_S
