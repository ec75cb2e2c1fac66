"""Windows against a list of all calls, and the sums that nonsense gets."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.policies.timing import TIME
from premortem.policies.windows import Consecutive, FailuresWithin, RateOfLast, RateWithin, SlowCalls, Trip

Calls = list[tuple[float, bool]]


def in_a_row(calls: Calls) -> int:
    row = 0
    for _, failed in calls:
        row = row + 1 if failed else 0
    return row


def model(spec: Trip, calls: Calls) -> bool:
    now = calls[-1][0]
    if isinstance(spec, FailuresWithin):
        return sum(failed for at, failed in calls if now - at <= spec.within_s) >= spec.failures
    if isinstance(spec, Consecutive):
        return in_a_row(calls) >= spec.failures
    recent = calls[-spec.calls :] if isinstance(spec, RateOfLast) else [c for c in calls if now - c[0] <= spec.within_s]
    return len(recent) >= spec.minimum and sum(failed for _, failed in recent) >= spec.rate * len(recent)


@pytest.fixture
def frozen() -> Iterator[None]:
    kept = TIME.monotonic
    yield
    TIME.monotonic = kept


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    "spec",
    [FailuresWithin(3, 10), FailuresWithin(1), Consecutive(3), RateOfLast(0.5, 8, 3), RateWithin(0.4, 10, 4)],
    ids=repr,
)
def test_a_window_trips_exactly_when_the_list_of_all_calls_says_so(spec: Trip) -> None:
    @given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=60))
    def follow(told: list[tuple[int, bool]]) -> None:
        window, now, calls = spec.window(), 0.0, list[tuple[float, bool]]()
        for step, failed in told:
            now += step
            TIME.monotonic = at(now)
            calls.append((now, failed))
            if failed:
                assert window.failure(now) == model(spec, calls)
            elif window.on_success is not None:
                window.on_success()
        window.clear()
        assert window.counts(now)[0] == 0

    follow()


def at(now: float) -> Callable[[], float]:
    return lambda: now


def test_the_default_is_the_fifth_failure_in_thirty_seconds() -> None:
    window = FailuresWithin().window()
    assert [window.failure(now) for now in (0, 7, 14, 21, 30)] == [False] * 4 + [True]
    window = FailuresWithin().window()
    assert [window.failure(now) for now in (0, 7, 14, 21, 30.5)] == [False] * 5


def test_a_minimum_volume_keeps_one_failure_of_one_call_from_being_all() -> None:
    window = RateOfLast(0.5, 100, 10).window()
    assert [window.failure(0.0) for _ in range(10)] == [False] * 9 + [True]


@pytest.mark.usefixtures("frozen")
def test_a_time_window_is_bounded_in_memory_and_still_fair() -> None:
    TIME.monotonic = at(0.0)
    window = RateWithin(0.9, 3600, 10).window()
    assert window.on_success is not None
    for _ in range(30_000):
        window.on_success()
    TIME.monotonic = at(1.0)
    assert any(window.failure(1.0) for _ in range(200_000))  # an outage is seen in spite of what went well before
    assert sum(window.counts(1.0)[:1]) <= 10_000


@pytest.mark.parametrize(
    "make",
    [
        lambda: FailuresWithin(0),
        lambda: FailuresWithin(True),
        lambda: FailuresWithin(5, 0),
        lambda: FailuresWithin(5, math.nan),
        lambda: Consecutive("5"),  # type: ignore[arg-type]
        lambda: Consecutive(-1),
        lambda: RateOfLast(0),
        lambda: RateOfLast(1.1),
        lambda: RateOfLast(0.5, 10, 11),
        lambda: RateWithin(within_s=-1),
        lambda: RateWithin("yes"),  # type: ignore[arg-type]
        lambda: SlowCalls(0),
        lambda: SlowCalls(1, rate=math.nan),
        lambda: SlowCalls(1, calls=10, minimum=11),
    ],
)
def test_nonsense_is_told_with_value_and_rule(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"\w+\.\w+ = .*: has to be"):
        make()
