"""A limit on concurrent calls that is found from their latency: it goes down when the other side queues, and up again.

Both strategies look at windows of calls, not at single ones (Netflix concurrency-limits, WindowedLimit: a second and
ten calls). They are pure: a limit and a window in, a limit out. Formulas and defaults are those of Netflix
concurrency-limits (AIMDLimit, Gradient2Limit); the lower bound is 1 instead of 20, so that small services fit in.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import ambient, checks
from premortem.policies.bulkhead import rejection
from premortem.policies.permits import Permits
from premortem.policies.rejections import RejectedError
from premortem.policies.timing import TIME

_WARM_UP = 10  # windows; the baseline is their plain average before it becomes an exponential one
_GRADIENT_LOW = 0.5  # a window halves the limit at most, so that outliers do not shed everything
_DRIFTED = 2.0  # a baseline that is so many times the latency is out of date,
_DECAY = 0.95  # and comes down faster than by averaging


@dataclass(frozen=True, slots=True)
class Window:
    """What a window of calls showed: their mean latency, the most that were inside at once, whether one was dropped."""

    latency_s: float
    inside: int
    dropped: bool


class Estimator(Protocol):
    """Finds the next limit; may remember earlier windows."""

    def next_limit(self, limit: float, window: Window) -> float:
        """The limit after `window`, before it is bounded and rounded down."""
        ...


@dataclass(frozen=True, slots=True)
class Aimd:
    """One more when all is well and half the limit is used; times `backoff` when a call was dropped or took `slow_s`.

    Additive increase, multiplicative decrease (Chiu and Jain, 1989), as TCP does. It needs to be told what slow is.
    """

    kind: ClassVar[str] = "aimd"

    slow_s: float = 5.0
    backoff: float = 0.9

    def __post_init__(self) -> None:
        checks.seconds("Aimd.slow_s", self.slow_s)
        checks.number("Aimd.backoff", self.backoff, 0.5, 0.99)

    def estimator(self) -> Estimator:
        """It remembers nothing, so it is its own."""
        return self

    def next_limit(self, limit: float, window: Window) -> float:
        """As `Estimator`."""
        if window.dropped or window.latency_s > self.slow_s:
            return min(limit - 1, int(limit * self.backoff))
        return limit + 1 if window.inside * 2 >= limit else limit


@dataclass(frozen=True, slots=True)
class Gradient2:
    """The limit follows the ratio of the usual latency to the present one, and leaves room for `queue` calls.

    gradient = max(0.5, min(1, tolerance * usual / present))
    limit    = limit * (1 - smoothing) + (limit * gradient + queue) * smoothing

    `usual` is an exponential average over `windows` windows. A window with a dropped call has the gradient 0.5 (ours:
    Netflix's looks at latency alone, so that errors which come fast would raise the limit).
    """

    kind: ClassVar[str] = "gradient2"

    tolerance: float = 1.5
    queue: int = 4
    smoothing: float = 0.2
    windows: int = 600

    def __post_init__(self) -> None:
        checks.number("Gradient2.tolerance", self.tolerance, 1, 10, "times the usual latency")
        checks.whole("Gradient2.queue", self.queue, 1, 1000, "calls")
        checks.share("Gradient2.smoothing", self.smoothing)
        checks.whole("Gradient2.windows", self.windows, _WARM_UP, 100_000, "windows")

    def estimator(self) -> Estimator:
        """With the usual latency of its own."""
        return _Gradient(self)


class _Gradient:
    __slots__ = ("_seen", "_spec", "_usual_s")

    def __init__(self, spec: Gradient2) -> None:
        self._spec = spec
        self._usual_s = 0.0
        self._seen = 0

    def next_limit(self, limit: float, window: Window) -> float:
        spec, present_s = self._spec, max(window.latency_s, 1e-9)
        self._seen += 1
        factor = 1 / self._seen if self._seen <= _WARM_UP else 2 / (spec.windows + 1)
        self._usual_s += (present_s - self._usual_s) * factor
        ratio = self._usual_s / present_s
        if ratio > _DRIFTED:
            self._usual_s *= _DECAY
        if window.inside < limit / 2 and not window.dropped:
            return limit  # so few calls say nothing about the limit
        gradient = _GRADIENT_LOW if window.dropped else max(_GRADIENT_LOW, min(1.0, spec.tolerance * ratio))
        return limit * (1 - spec.smoothing) + (limit * gradient + spec.queue) * spec.smoothing


@dataclass(frozen=True, slots=True)
class AdaptiveConcurrency:
    """A bulkhead whose number of permits is found by `strategy`, between `low` and `high`, beginning with `initial`.

    Calls that end well are measured; one that ends with `on` counts as dropped; other errors say nothing. Windows last
    `window_s` seconds, or longer until they hold `calls`. Waiting is as in Bulkhead.
    """

    kind: ClassVar[str] = "adaptive_concurrency"

    strategy: Gradient2 | Aimd = field(default=Gradient2())
    initial: int = 20
    low: int = 1
    high: int = 200
    on: tuple[type[Exception], ...] | type[Exception] = field(default=(ConnectionError, TimeoutError), kw_only=True)
    window_s: float = field(default=1.0, kw_only=True)
    calls: int = field(default=10, kw_only=True)
    wait_s: float = field(default=0.0, kw_only=True)
    queue_limit: int = field(default=100, kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.strategy, Gradient2 | Aimd):
            raise ConfigurationError(f"AdaptiveConcurrency.strategy = {self.strategy!r}: write Gradient2() or Aimd()")
        checks.whole("AdaptiveConcurrency.low", self.low, 1, 5_000, "calls at a time")
        checks.whole("AdaptiveConcurrency.high", self.high, self.low, 5_000, "calls at a time")
        checks.whole("AdaptiveConcurrency.initial", self.initial, self.low, self.high, "calls at a time (low to high)")
        object.__setattr__(self, "on", checks.exceptions("AdaptiveConcurrency.on", self.on))
        checks.seconds("AdaptiveConcurrency.window_s", self.window_s, low=0.01)
        checks.whole("AdaptiveConcurrency.calls", self.calls, 1, 100_000, "calls a window")
        checks.number("AdaptiveConcurrency.wait_s", self.wait_s, 0, 3600, "seconds")
        checks.whole("AdaptiveConcurrency.queue_limit", self.queue_limit, 0, 100_000, "waiting calls")

    def layer(self, policy: str) -> AdaptiveConcurrencyLayer:
        """As `layer.Spec`."""
        return AdaptiveConcurrencyLayer(self, policy)


@dataclass(frozen=True, slots=True)
class AdaptiveSnapshot:
    """The limit that was found, and how many calls are inside and waiting."""

    limit: int
    in_use: int
    waiting: int


class AdaptiveConcurrencyLayer:
    """Measures calls without a lock; once a window, one of them finds the next limit."""

    def __init__(self, spec: AdaptiveConcurrency, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.permits = Permits(spec.initial, spec.queue_limit)
        self._take = self.permits.take
        self._on = checks.exceptions("AdaptiveConcurrency.on", spec.on)
        self._estimator = spec.strategy.estimator()
        self._limit = float(spec.initial)  # `permits.limit` is this, rounded down
        self._latencies_s: deque[float] = deque()
        self._inside = 0
        self._dropped = False
        self._opened = TIME.monotonic()
        self._due = self._opened + spec.window_s
        self._lock = threading.Lock()

    def enter(self) -> float:
        """As `layer.Admission`; raises BulkheadFullError. The permit is the moment of entry."""
        try:
            self._take()
        except IndexError:
            wait_s = ambient.clamped(self.spec.wait_s)
            if not self.permits.acquire(wait_s):
                raise rejection(self.policy, self.permits, wait_s) from None
        return TIME.monotonic()

    async def enter_async(self) -> float:
        """As `layer.Admission`; raises BulkheadFullError."""
        try:
            self._take()
        except IndexError:
            wait_s = ambient.clamped(self.spec.wait_s)
            if not await self.permits.acquire_async(wait_s):
                raise rejection(self.policy, self.permits, wait_s) from None
        return TIME.monotonic()

    def leave(self, permit: float, error: BaseException | None) -> None:
        """As `layer.Admission`."""
        if error is not None and not self._is_drop(error):
            self.permits.release()
            return
        now = TIME.monotonic()
        inside = self.permits.in_use
        self.permits.release()
        if inside > self._inside:  # noqa: PLR1730 - a call of max() costs as much as the rest
            self._inside = inside
        if error is not None:
            self._dropped = True
        self._latencies_s.append(now - permit)
        if not self._opened <= now < self._due and len(self._latencies_s) >= self.spec.calls:
            self._close_window(now)

    def snapshot(self) -> AdaptiveSnapshot:
        """The limit of this moment, and what is inside."""
        now = self.permits.snapshot()
        return AdaptiveSnapshot(now.limit, now.in_use, now.waiting)

    def _is_drop(self, error: BaseException) -> bool:
        # What an inner policy rejected has not reached the function, and took no time.
        return isinstance(error, self._on) and not isinstance(error, RejectedError)

    def _close_window(self, now: float) -> None:
        if not self._lock.acquire(blocking=False):
            return  # another call is at it
        try:
            if self._opened <= now < self._due:
                return  # another call was faster
            latencies_s = [self._latencies_s.popleft() for _ in range(len(self._latencies_s))]
            window = Window(sum(latencies_s) / len(latencies_s), self._inside, self._dropped)
            self._inside, self._dropped = 0, False
            self._opened, self._due = now, now + self.spec.window_s
            limit = self._estimator.next_limit(self._limit, window)
            self._limit = float(max(self.spec.low, min(self.spec.high, limit)))
            was, limit = self.permits.limit, int(self._limit)
            if limit != was:
                self.permits.resize(limit)
        finally:
            self._lock.release()
        if limit != was:
            emit("policy.limit_changed", policy=self.policy, limit=limit, was=was, latency_s=window.latency_s)
