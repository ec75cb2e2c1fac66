"""When failures are too many: in a row, in the last seconds, or as a share of the last calls.

A spec is data; its `window()` counts. What a success costs is `on_success`, called without a lock: nothing for a plain
number of failures, one deque operation (atomic in CPython, so that no count is lost) otherwise. All else is called
under the breaker's lock. Rates are judged when a failure comes, never when a success does: a success is no reason to
open, and so pays for no division.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from premortem.policies import checks
from premortem.policies.timing import TIME

_MOST = 10_000  # calls that a time window remembers, 0.3 MB; beyond, its rate is that of the latest of them


class Window(Protocol):
    """Counts for one breaker. `on_success` is None where a success needs no note."""

    @property
    def on_success(self) -> Callable[[], object] | None:
        """Note a success; without arguments, without a lock."""
        ...

    def failure(self, now: float) -> bool:
        """Note a failure at `now` (seconds); True when there are too many."""
        ...

    def counts(self, now: float) -> tuple[int, int | None]:
        """Failures, and calls where the window counts them."""
        ...

    def clear(self) -> None:
        """Begin anew."""
        ...


@dataclass(frozen=True, slots=True)
class FailuresWithin:
    """`failures` failures within `within_s` seconds, whatever succeeded in between.

    Default 5 in 30 s. It needs no minimum volume, being one. With much traffic a small share of failures reaches it:
    take a rate there.
    """

    kind: ClassVar[str] = "failures_within"
    failures: int = 5
    within_s: float = 30.0

    def __post_init__(self) -> None:
        checks.whole("FailuresWithin.failures", self.failures, 1, _MOST)
        checks.seconds("FailuresWithin.within_s", self.within_s)

    def window(self) -> Window:
        """Its counter."""
        return _Marks(self.failures, self.within_s)


@dataclass(frozen=True, slots=True)
class Consecutive:
    """`failures` failures in a row (default 5, as pybreaker and circuitbreaker have it); a success begins anew."""

    kind: ClassVar[str] = "consecutive"
    failures: int = 5

    def __post_init__(self) -> None:
        checks.whole("Consecutive.failures", self.failures, 1, _MOST)

    def window(self) -> Window:
        """Its counter."""
        return _Row(self.failures)


@dataclass(frozen=True, slots=True)
class RateOfLast:
    """A share of `rate` of the last `calls` calls, once there are `minimum`.

    Defaults 0.5 of 100, as in resilience4j, but from 10 calls on: there it takes a hundred to see an outage.
    """

    kind: ClassVar[str] = "rate_of_last"
    rate: float = 0.5
    calls: int = 100
    minimum: int = 10

    def __post_init__(self) -> None:
        checks.share("RateOfLast.rate", self.rate)
        checks.whole("RateOfLast.calls", self.calls, 1, _MOST)
        checks.whole("RateOfLast.minimum", self.minimum, 1, self.calls, "calls (not above RateOfLast.calls)")

    def window(self) -> Window:
        """Its counter."""
        return _Ring(self.rate, self.calls, self.minimum)


@dataclass(frozen=True, slots=True)
class RateWithin:
    """A share of `rate` of the calls of the last `within_s` seconds, once there are `minimum`.

    Default a tenth of 100 calls in 30 s, as in Polly v8. A success costs a clock read more than with `RateOfLast`.
    Of more than 10,000 successes or failures within the time the latest 10,000 count, and the others since then.
    """

    kind: ClassVar[str] = "rate_within"
    rate: float = 0.1
    within_s: float = 30.0
    minimum: int = 100

    def __post_init__(self) -> None:
        checks.share("RateWithin.rate", self.rate)
        checks.seconds("RateWithin.within_s", self.within_s)
        checks.whole("RateWithin.minimum", self.minimum, 1, _MOST, "calls")

    def window(self) -> Window:
        """Its counter."""
        return _TimedRing(self.rate, self.within_s, self.minimum)


@dataclass(frozen=True, slots=True)
class SlowCalls:
    """A share of `rate` of the last `calls` calls took more than `over_s` seconds, once there are `minimum`.

    Beside the failures, in a window of its own. Default 0.8: some slow calls are life. A slow probe is a failed one.
    Every call pays two clock reads and a permit of its own.
    """

    kind: ClassVar[str] = "slow_calls"
    over_s: float
    rate: float = 0.8
    calls: int = 100
    minimum: int = 10

    def __post_init__(self) -> None:
        checks.seconds("SlowCalls.over_s", self.over_s)
        checks.share("SlowCalls.rate", self.rate)
        checks.whole("SlowCalls.calls", self.calls, 1, _MOST)
        checks.whole("SlowCalls.minimum", self.minimum, 1, self.calls, "calls (not above SlowCalls.calls)")

    def window(self) -> Window:
        """Its counter: a slow call is its failure."""
        return _Ring(self.rate, self.calls, self.minimum)


Trip = FailuresWithin | Consecutive | RateOfLast | RateWithin


class _Marks:
    on_success = None

    def __init__(self, failures: int, within_s: float) -> None:
        self._marks: deque[float] = deque(maxlen=failures)  # so the first is the one that `failures` are counted from
        self._failures, self._within_s = failures, within_s

    def failure(self, now: float) -> bool:
        self._marks.append(now)
        return len(self._marks) == self._failures and now - self._marks[0] <= self._within_s

    def counts(self, now: float) -> tuple[int, int | None]:
        return sum(now - mark <= self._within_s for mark in self._marks), None

    def clear(self) -> None:
        self._marks.clear()


class _Row:
    def __init__(self, failures: int) -> None:
        self._row: deque[None] = deque(maxlen=failures)
        self._failures = failures
        self.on_success = self._row.clear  # one C call, that does nothing where there is nothing

    def failure(self, now: float) -> bool:  # noqa: ARG002 - as Window
        self._row.append(None)
        return len(self._row) >= self._failures

    def counts(self, now: float) -> tuple[int, int | None]:  # noqa: ARG002 - as Window
        return len(self._row), None

    def clear(self) -> None:
        self._row.clear()


class _Ring:
    def __init__(self, rate: float, calls: int, minimum: int) -> None:
        self._ring: deque[int] = deque(maxlen=calls)
        self._rate, self._minimum = rate, minimum
        self.on_success = partial(self._ring.append, 0)

    def failure(self, now: float) -> bool:
        self._ring.append(1)
        failures, calls = self.counts(now)
        return calls >= self._minimum and failures >= self._rate * calls

    def counts(self, now: float) -> tuple[int, int]:  # noqa: ARG002 - as Window
        return self._ring.count(1), len(self._ring)  # one C call over small integers: nobody appends meanwhile

    def clear(self) -> None:
        self._ring.clear()


class _TimedRing:
    def __init__(self, rate: float, within_s: float, minimum: int) -> None:
        self._rate, self._within_s, self._minimum = rate, within_s, minimum
        self._succeeded: deque[float] = deque(maxlen=_MOST)
        self._failed: deque[float] = deque(maxlen=_MOST)
        append, clock = self._succeeded.append, TIME

        def on_success() -> None:
            append(clock.monotonic())

        self.on_success = on_success

    def failure(self, now: float) -> bool:
        self._failed.append(now)
        failures, calls = self.counts(now)
        return calls >= self._minimum and failures >= self._rate * calls

    def counts(self, now: float) -> tuple[int, int]:
        horizon = now - self._within_s
        for marks in (self._succeeded, self._failed):
            if len(marks) == _MOST:
                horizon = max(horizon, marks[0])
        _drop(self._succeeded, horizon)
        _drop(self._failed, horizon)
        return len(self._failed), len(self._failed) + len(self._succeeded)

    def clear(self) -> None:
        self._succeeded.clear()
        self._failed.clear()


def _drop(marks: deque[float], horizon: float) -> None:
    # Successes are appended meanwhile, at the other end: on a full deque one of them may cost one mark too many.
    while marks and marks[0] < horizon:
        marks.popleft()
