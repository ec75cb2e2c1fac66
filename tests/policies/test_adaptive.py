import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem import events
from premortem.errors import ConfigurationError
from premortem.policies import Policy
from premortem.policies.adaptive import AdaptiveConcurrency, AdaptiveConcurrencyLayer, Aimd, Gradient2, Window
from premortem.policies.rejections import BulkheadFullError, CircuitOpenError
from premortem.policies.timing import TIME

Caller = Callable[..., Callable[[], Any]]


class Passing:
    """A time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0


@pytest.fixture
def passing() -> Iterator[Passing]:
    kept, passing = TIME.monotonic, Passing()
    TIME.monotonic = lambda: passing.now
    yield passing
    TIME.monotonic = kept


def crowd(layer: AdaptiveConcurrencyLayer, passing: Passing, latency_s: float, error: Exception | None = None) -> int:
    """As many calls at once as get in, all taking `latency_s` seconds; how many they were."""
    permits = []
    while True:
        try:
            permits.append(layer.enter())
        except BulkheadFullError:
            break
    passing.now += latency_s
    for permit in permits:
        layer.leave(permit, error)
    return len(permits)


def minutes(layer: AdaptiveConcurrencyLayer, passing: Passing, count: float, latency_s: float) -> int:
    end = passing.now + 60 * count
    while passing.now < end:
        crowd(layer, passing, latency_s)
    return layer.snapshot().limit


# The formulas


def test_aimd_adds_one_and_takes_a_tenth() -> None:
    aimd = Aimd(slow_s=1, backoff=0.9)
    assert aimd.next_limit(20, Window(0.5, inside=10, dropped=False)) == 21
    assert aimd.next_limit(20, Window(0.5, inside=9, dropped=False)) == 20
    assert aimd.next_limit(20, Window(1.1, inside=20, dropped=False)) == 18
    assert aimd.next_limit(20, Window(0.5, inside=20, dropped=True)) == 18
    assert aimd.next_limit(3, Window(0.5, inside=3, dropped=True)) == 2  # int(2.7); at least one less


def test_gradient_follows_the_formula_of_netflix() -> None:
    gradient = Gradient2(tolerance=1, queue=4, smoothing=0.2).estimator()
    assert gradient.next_limit(20, Window(0.1, 20, dropped=False)) == pytest.approx(20 * 0.8 + (20 * 1 + 4) * 0.2)
    # warm-up: the usual latency is the mean of 0.1 and 0.2
    assert gradient.next_limit(20, Window(0.2, 20, dropped=False)) == pytest.approx(20 * 0.8 + (20 * 0.75 + 4) * 0.2)
    assert gradient.next_limit(20, Window(9.0, 20, dropped=False)) == pytest.approx(20 * 0.8 + (20 * 0.5 + 4) * 0.2)
    assert gradient.next_limit(20, Window(0.1, 9, dropped=False)) == 20


def test_gradient_tolerates_some_latency() -> None:
    gradient = Gradient2(tolerance=1.5).estimator()
    for _ in range(20):
        gradient.next_limit(20, Window(0.1, 20, dropped=False))
    assert gradient.next_limit(20, Window(0.145, 20, dropped=False)) > 20
    assert gradient.next_limit(100, Window(0.3, 100, dropped=False)) < 100


def test_a_dropped_window_halves_even_where_it_was_fast() -> None:
    gradient = Gradient2().estimator()
    assert gradient.next_limit(100, Window(0.1, 10, dropped=True)) == pytest.approx(100 * 0.8 + 54 * 0.2)


def test_a_usual_latency_that_is_out_of_date_comes_down_quickly() -> None:
    gradient = Gradient2(tolerance=1).estimator()
    for _ in range(10):
        gradient.next_limit(100, Window(1.0, 100, dropped=False))
    for _ in range(40):
        gradient.next_limit(100, Window(0.1, 100, dropped=False))
    # by averaging alone the usual latency would still be 0.9 s, and 0.4 s would count as fast
    assert gradient.next_limit(100, Window(0.4, 100, dropped=False)) < 92


# At work


@pytest.mark.parametrize("strategy", [Gradient2(), Aimd(slow_s=0.5)], ids=lambda strategy: strategy.kind)
def test_the_limit_goes_down_when_latency_rises_and_up_again(strategy: Gradient2 | Aimd, passing: Passing) -> None:
    layer = AdaptiveConcurrency(strategy, initial=20, high=100).layer("p")
    calm = minutes(layer, passing, 3, 0.1)
    assert calm > 40
    busy = minutes(layer, passing, 0.5, 1.0)
    assert busy < calm / 2
    again = minutes(layer, passing, 3, 0.1)
    assert again > calm * 0.9
    assert layer.snapshot().in_use == 0


def test_it_finds_what_a_server_with_a_queue_can_take(passing: Passing) -> None:
    # A server that works on 20 calls at a time, 0.1 s each; more than that queue, and take longer (Little's law).
    layer = AdaptiveConcurrency(Gradient2(), initial=5, high=200).layer("p")
    for _ in range(600):
        crowd(layer, passing, 0.1 * max(1.0, layer.snapshot().limit / 20))
    assert 15 <= layer.snapshot().limit <= 60


@pytest.mark.parametrize("strategy", [Gradient2(), Aimd()], ids=lambda strategy: strategy.kind)
@settings(max_examples=40, deadline=None)
@given(story=st.lists(st.tuples(st.floats(0.001, 10), st.booleans()), max_size=40))
def test_whatever_happens_the_limit_stays_between_low_and_high(
    strategy: Gradient2 | Aimd, story: list[tuple[float, bool]]
) -> None:
    kept, passing = TIME.monotonic, Passing()
    TIME.monotonic = lambda: passing.now
    try:
        layer = AdaptiveConcurrency(strategy, initial=8, low=3, high=12, calls=1, window_s=0.01).layer("p")
        for latency_s, drop in story:
            limit = layer.snapshot().limit
            assert crowd(layer, passing, latency_s, TimeoutError() if drop else None) == limit
            assert 3 <= layer.snapshot().limit <= 12
            assert layer.snapshot().in_use == 0
    finally:
        TIME.monotonic = kept


def test_a_window_lasts_its_seconds_and_holds_its_calls(passing: Passing) -> None:
    layer = AdaptiveConcurrency(Aimd(), initial=2, window_s=1, calls=10).layer("p")
    for _ in range(4):
        crowd(layer, passing, 0.3)
    assert layer.snapshot().limit == 2  # 1.2 s, but 8 calls
    crowd(layer, passing, 0.3)
    assert layer.snapshot().limit == 3
    for _ in range(4):
        crowd(layer, passing, 0.1)
    assert layer.snapshot().limit == 3  # 12 calls, but 0.4 s


def test_a_change_is_told(passing: Passing) -> None:
    layer = AdaptiveConcurrency(Aimd(), initial=10).layer("orders")
    seen: list[events.Event] = []
    with events.listening(seen.append):
        crowd(layer, passing, 1.5)
    assert seen[-1].name == "policy.limit_changed"
    assert seen[-1].get("policy") == "orders"
    assert (seen[-1].get("was"), seen[-1].get("limit")) == (10, 11)
    assert seen[-1].get("latency_s") == pytest.approx(1.5)


def test_a_listener_that_fails_costs_no_permit(passing: Passing) -> None:
    layer = AdaptiveConcurrency(Aimd(), initial=10, calls=1).layer("p")
    permit = layer.enter()
    others = [layer.enter() for _ in range(5)]
    passing.now += 2

    def fail(_: events.Event) -> None:
        raise ValueError

    with events.listening(fail), pytest.raises(ValueError):  # noqa: PT011 - the listener's own
        layer.leave(permit, None)
    for other in others:
        layer.leave(other, ValueError())
    assert layer.snapshot().in_use == 0


# What counts, for def and async def


@pytest.mark.parametrize("kind", ["sync", "async"])
class TestCalls:
    @pytest.mark.parametrize(
        ("error", "limit"),
        [
            (None, 3),
            (TimeoutError(), 1),
            (ConnectionError(), 1),
            (ValueError(), 2),
            (CircuitOpenError("inner", "open"), 2),
            (KeyboardInterrupt(), 2),
            (asyncio.CancelledError(), 2),
        ],
        ids=repr,
    )
    def test_what_a_call_says_about_the_limit(
        self, caller: Caller, error: BaseException | None, limit: int, passing: Passing
    ) -> None:
        policy = Policy("p", AdaptiveConcurrency(Aimd(), initial=2, calls=1))

        def work() -> None:
            passing.now += 2
            if error is not None:
                raise error

        call = caller(policy, work)
        if error is None:
            call()
        else:
            with pytest.raises(type(error)):
                call()
        snapshot = policy.layer(AdaptiveConcurrencyLayer).snapshot()
        assert (snapshot.limit, snapshot.in_use) == (limit, 0)

    def test_what_an_inner_policy_rejects_is_no_drop_whatever_on_says(self, caller: Caller) -> None:
        policy = Policy("p", AdaptiveConcurrency(Aimd(), initial=2, calls=1, on=Exception))

        def work() -> None:
            raise CircuitOpenError("inner", "open")

        policy.layer(AdaptiveConcurrencyLayer)._due = 0.0  # time for a decision
        with pytest.raises(CircuitOpenError):
            caller(policy, work)()
        assert policy.layer(AdaptiveConcurrencyLayer).snapshot().limit == 2

    def test_a_full_one_says_so(self, caller: Caller) -> None:
        policy = Policy("orders", AdaptiveConcurrency(initial=1))
        policy.layer(AdaptiveConcurrencyLayer).enter()
        with pytest.raises(BulkheadFullError, match="'orders': all 1 permits are taken"):
            caller(policy, lambda: None)()

    def test_it_waits_where_it_is_told_to(self, caller: Caller) -> None:
        policy = Policy("p", AdaptiveConcurrency(initial=1, wait_s=30))
        layer = policy.layer(AdaptiveConcurrencyLayer)
        permit = layer.enter()
        threading.Timer(0.05, layer.leave, (permit, None)).start()
        assert caller(policy, lambda: "in")() == "in"


def test_hammering_threads_lose_no_permit_while_the_limit_changes() -> None:
    layer = AdaptiveConcurrency(Aimd(slow_s=0.001), initial=4, high=8, window_s=0.01, calls=1, wait_s=30).layer("p")

    def thread() -> None:
        for number in range(1500):
            permit = layer.enter()
            layer.leave(permit, TimeoutError() if number % 7 == 0 else None)

    threads = [threading.Thread(target=thread, daemon=True) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert not any(one.is_alive() for one in threads)
    now = layer.snapshot()
    assert (now.in_use, now.waiting) == (0, 0)
    assert layer.permits._debt == 0


# Specs


@pytest.mark.parametrize(
    "options",
    [
        {"initial": 0},
        {"low": 0},
        {"high": 10_000},
        {"initial": 300},
        {"low": 50, "initial": 20},
        {"window_s": 0},
        {"calls": 0},
        {"wait_s": "1"},
        {"on": BaseException},
        {"strategy": "aimd"},
    ],
    ids=repr,
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"AdaptiveConcurrency\.\w+ = "):
        AdaptiveConcurrency(**options)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Aimd(slow_s=0),
        lambda: Aimd(backoff=1.0),
        lambda: Aimd(backoff=0.1),
        lambda: Gradient2(tolerance=0.5),
        lambda: Gradient2(queue=0),
        lambda: Gradient2(smoothing=0),
        lambda: Gradient2(windows=float("nan")),  # type: ignore[arg-type]
    ],
)
def test_nonsense_strategies_are_refused(build: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match="has to be"):
        build()
