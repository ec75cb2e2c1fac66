import asyncio
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from premortem import events
from premortem.errors import ConfigurationError
from premortem.policies import Policy, ambient
from premortem.policies.bucket import TokenBucket
from premortem.policies.rate_limiter import RateLimiter, RateLimiterLayer
from premortem.policies.rejections import RateLimitedError
from premortem.policies.timing import TIME

Caller = Callable[..., Callable[[], Any]]

CALM_S = 1e-6  # what rounding may cost or give


class Passing:
    """A time that passes only when somebody waits, or is told to."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    def begin(self) -> None:
        self.kept = TIME.monotonic, TIME.sleep, TIME.sleep_async
        TIME.monotonic, TIME.sleep, TIME.sleep_async = lambda: self.now, self.sleep, self.sleep_async

    def end(self) -> None:
        TIME.monotonic, TIME.sleep, TIME.sleep_async = self.kept


@pytest.fixture
def passing() -> Iterator[Passing]:
    passing = Passing()
    passing.begin()
    yield passing
    passing.end()


def admitted(layer: RateLimiterLayer) -> bool:
    try:
        layer.enter()
    except RateLimitedError:
        return False
    return True


# The bucket


def test_a_full_bucket_gives_its_burst_and_then_says_how_long(passing: Passing) -> None:
    bucket = TokenBucket(10, 5)
    assert [bucket.try_acquire() for _ in range(5)] == [0] * 5
    assert bucket.try_acquire() == pytest.approx(0.1)
    assert bucket.try_acquire(5) == pytest.approx(0.5)
    passing.now += 0.1
    assert bucket.try_acquire() == 0
    assert bucket.try_acquire() == pytest.approx(0.1)


def test_what_it_says_is_exact(passing: Passing) -> None:
    bucket = TokenBucket(3, 2)
    bucket.try_acquire(2)
    for _ in range(1000):
        passing.now += bucket.try_acquire()
        assert bucket.try_acquire() == 0
    assert passing.now == pytest.approx(1000 + 1000 / 3, abs=CALM_S)


def test_an_idle_bucket_holds_no_more_than_its_burst(passing: Passing) -> None:
    bucket = TokenBucket(10, 5)
    passing.now += 3600
    assert [bucket.try_acquire() > 0 for _ in range(6)] == [False] * 5 + [True]


def test_more_than_the_burst_is_never_to_be_had() -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 5 tokens, the burst"):
        TokenBucket(10, 5).try_acquire(6)


def test_a_clock_that_was_a_tests_does_not_close_the_bucket(passing: Passing) -> None:
    bucket = TokenBucket(10, 5)
    passing.now -= 900  # the test is over
    assert [bucket.try_acquire() for _ in range(5)] == [0] * 5
    assert bucket.try_acquire() == pytest.approx(0.1)


def test_a_turn_that_is_given_back_is_taken_over_within_the_same_limit(passing: Passing) -> None:
    bucket = TokenBucket(10, 1)
    bucket.take()
    _, first = bucket.book(10)
    _, second = bucket.book(10)
    assert (first, second) == pytest.approx((passing.now + 0.1, passing.now + 0.2))
    assert first is not None
    bucket.give_back(first)
    assert bucket.book(0.0999)[0] == pytest.approx(0.1)
    assert bucket.book(0.0999)[1] is None
    assert bucket.book(0.1)[1] == first
    assert bucket.book(0.2999)[1] is None  # after the second, again
    passing.now += 0.3
    bucket.take()
    with pytest.raises(IndexError):
        bucket.take()


class BucketMachine(RuleBasedStateMachine):
    """Against the textbook's bucket, in fractions: tokens that drip and overflow."""

    def __init__(self) -> None:
        super().__init__()
        self.passing = Passing()
        self.passing.begin()
        self.rate, self.burst = Fraction(7), 6
        self.bucket = TokenBucket(7, 6)
        self.tokens = Fraction(6)

    @rule(milliseconds=st.integers(0, 2000))
    def time_passes(self, milliseconds: int) -> None:
        self.passing.now += milliseconds / 1000
        self.tokens = min(Fraction(self.burst), self.tokens + self.rate * Fraction(milliseconds, 1000))

    @rule(n=st.integers(1, 6))
    def acquire(self, n: int) -> None:
        wait_s = self.bucket.try_acquire(n)
        missing_s = float((n - self.tokens) / self.rate)
        if wait_s == 0:
            assert missing_s <= CALM_S
            self.tokens -= n
        else:
            assert wait_s == pytest.approx(missing_s, abs=CALM_S)

    @rule(n=st.integers(1, 6))
    def take_up_to(self, n: int) -> None:
        taken = self.bucket.take_up_to(n)
        assert abs(taken - min(n, max(0, int(self.tokens)))) <= (1 if self.at_the_brink() else 0)
        self.tokens -= taken

    @invariant()
    def agrees(self) -> None:
        assert abs(self.bucket.available() - max(0, int(self.tokens))) <= (1 if self.at_the_brink() else 0)

    def at_the_brink(self) -> bool:
        return abs(float(self.tokens) - round(self.tokens)) < CALM_S

    def teardown(self) -> None:
        self.passing.end()


BucketMachine.TestCase.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)
TestBucketAgainstTheModel = BucketMachine.TestCase


# The layer: never above burst, and exact in the long run


def never_above_burst(moments: list[float], rate_per_s: float, burst: int) -> None:
    for first, begin in enumerate(moments):
        for last in range(first, len(moments)):
            allowed = burst + rate_per_s * (moments[last] - begin) + CALM_S * rate_per_s
            assert last - first + 1 <= allowed


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([1, 3, 16, 40, 100]),
    st.sampled_from([0.5, 10.0, 33.3]),
    st.lists(st.tuples(st.floats(0, 3), st.integers(0, 60)), max_size=12),
    st.sampled_from([0.0, 0.05, 1.0]),
)
def test_no_window_ever_sees_more_than_the_burst(
    burst: int, rate: float, story: list[tuple[float, int]], wait_s: float
) -> None:
    passing = Passing()
    passing.begin()
    try:
        layer = RateLimiter(rate, burst=burst, wait_s=wait_s).layer("p")
        moments: list[float] = []
        for pause_s, calls in story:
            passing.now += pause_s
            moments.extend(passing.now for _ in range(calls) if admitted(layer))
        never_above_burst(moments, rate, burst)
    finally:
        passing.end()


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([1, 2, 5]),
    st.lists(st.sampled_from(["call", "call", "cancel oldest", "cancel newest", "wait"]), max_size=40),
)
def test_cancelled_bookings_never_let_more_through(burst: int, story: list[str]) -> None:
    passing = Passing()
    passing.begin()
    try:
        bucket, booked, moments = TokenBucket(10, burst), list[float](), list[float]()
        for act in story:
            booked.sort()
            while booked and booked[0] <= passing.now:
                moments.append(booked.pop(0))
            if act == "call":
                _, moment = bucket.book(2)
                if moment is not None:
                    booked.append(moment)
            elif act == "wait":
                passing.now += 0.07
            elif booked:
                bucket.give_back(booked.pop(0 if act == "cancel oldest" else -1))
        never_above_burst(sorted(moments + booked), 10, burst)
    finally:
        passing.end()


@pytest.mark.parametrize(("rate", "burst"), [(10, 1), (100, 100), (1000, 200), (7.3, 3)])
def test_the_long_run_rate_is_exact_within_one_per_cent(rate: float, burst: int, passing: Passing) -> None:
    layer = RateLimiter(rate, burst=burst).layer("p")
    while admitted(layer):
        pass  # the burst is gone
    begin, calls, step_s = passing.now, 0, 1 / rate / 150.7
    while passing.now < begin + 1000 / rate:
        passing.now += step_s
        calls += admitted(layer)
    assert calls == pytest.approx(1000, rel=0.01)


def test_leased_tokens_are_part_of_the_burst(passing: Passing) -> None:
    layer = RateLimiter(100, burst=100).layer("p")
    assert layer.snapshot().available == 100
    assert sum(admitted(layer) for _ in range(300)) == 100
    passing.now += 3600
    again = sum(admitted(layer) for _ in range(300))
    assert 100 - 100 // 8 <= again <= 100


def test_many_threads_get_no_more_than_the_burst(passing: Passing) -> None:
    layer = RateLimiter(1, burst=500).layer("p")
    counts: list[int] = []

    def thread() -> None:
        counts.append(sum(admitted(layer) for _ in range(300)))

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    assert sum(counts) == 500
    assert passing.waits == []


def test_two_that_find_the_lease_empty_do_not_fill_it_twice(passing: Passing, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = RateLimiter(1, burst=80).layer("p")  # lots of 10
    for _ in range(10):
        layer.token()
    other = threading.Thread(target=layer.refill)
    take_up_to = TokenBucket.take_up_to

    def meanwhile(bucket: TokenBucket, n: int) -> int:
        if not other.ident:
            other.start()
            other.join(0.2)  # it must not get through before the lease is filled
        return take_up_to(bucket, n)

    monkeypatch.setattr(TokenBucket, "take_up_to", meanwhile)
    layer.refill()
    other.join(30)
    assert len(layer._lease) == 10 - 2
    assert passing.waits == []


# Rejecting and waiting, for def and async def


@pytest.mark.parametrize("kind", ["sync", "async"])
class TestCalls:
    def test_what_is_too_much_is_rejected_with_the_seconds_to_wait(self, caller: Caller, passing: Passing) -> None:
        seen: list[events.Event] = []
        call = caller(Policy("orders", RateLimiter(2, per_s=10, burst=1)))
        with events.listening(seen.append):
            call()
            assert seen == []
            passing.now += 1
            with pytest.raises(RateLimitedError, match="'orders': 2 calls per 10 s are used up; try again in 4 s") as e:
                call()
        assert e.value.retry_after_s == pytest.approx(4)
        assert passing.waits == []
        assert [event.name for event in seen] == ["policy.rate_limited"]
        assert [name for name, _ in seen[0].fields] == ["policy", "wait_s", "limit_s"]

    def test_what_comes_in_time_waits_its_turn(self, caller: Caller, passing: Passing) -> None:
        call = caller(Policy("p", RateLimiter(10, burst=1, wait_s=0.1)))
        for _ in range(4):
            call()
        assert passing.waits == pytest.approx([0.1] * 3)

    def test_the_wait_limit_is_exact(self, caller: Caller, passing: Passing) -> None:
        call = caller(Policy("p", RateLimiter(10, burst=1, wait_s=0.0999)))
        call()
        with pytest.raises(RateLimitedError):
            call()
        passing.now += 0.0002
        call()

    def test_a_deadline_shortens_the_wait(self, caller: Caller, passing: Passing) -> None:
        call = caller(Policy("p", RateLimiter(1, wait_s=60)))
        call()
        token = ambient.set_until(passing.now + 0.5)
        try:
            with pytest.raises(RateLimitedError):
                call()
        finally:
            ambient.reset_until(token)
        assert passing.waits == []

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, asyncio.CancelledError])
    def test_errors_pass_through_and_cost_their_token(
        self, caller: Caller, error: type[BaseException], passing: Passing
    ) -> None:
        def fail() -> None:
            raise error

        call = caller(Policy("p", RateLimiter(1)), fail)
        with pytest.raises(error):
            call()
        with pytest.raises(RateLimitedError):
            call()
        assert passing.waits == []


def test_waiting_tasks_are_spread_and_served_in_order() -> None:
    policy = Policy("p", RateLimiter(200, burst=1, wait_s=10))
    order: list[tuple[int, float]] = []

    @policy
    async def work(number: int) -> None:
        order.append((number, TIME.monotonic()))

    async def story() -> None:
        await asyncio.gather(*(work(number) for number in range(8)))

    asyncio.run(story())
    assert [number for number, _ in order] == list(range(8))
    assert order[-1][1] - order[0][1] >= 7 / 200 - 0.001


def test_a_cancelled_wait_gives_its_turn_to_the_next() -> None:
    layer = RateLimiter(1, burst=1, wait_s=100).layer("p")
    hang: list[asyncio.Event] = []

    async def sleep_async(_: float) -> None:
        event = asyncio.Event()
        hang.append(event)
        await event.wait()

    async def story() -> None:
        kept, TIME.sleep_async = TIME.sleep_async, sleep_async
        try:
            await layer.enter_async()
            first, second = (asyncio.create_task(layer.enter_async()) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            wait_s, moment = layer.bucket.book(0.0)
            assert moment is None
            assert wait_s == pytest.approx(1, abs=0.1)  # the turn of the first, not the one after the second
            second.cancel()
            await asyncio.gather(second, return_exceptions=True)
        finally:
            TIME.sleep_async = kept

    asyncio.run(story())
    assert len(hang) == 2


def test_the_parts_for_an_inlined_happy_path(passing: Passing) -> None:
    layer = RateLimiter(16, burst=16, wait_s=1).layer("p")
    layer.token()
    layer.token()
    with pytest.raises(IndexError):
        layer.token()
    layer.refill()
    layer.token()  # the second of the lot
    with pytest.raises(IndexError):
        layer.token()
    asyncio.run(layer.refill_async())
    assert layer.snapshot().available == 16 - 5
    assert passing.waits == []


# Specs


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), "10", True, None])
def test_a_nonsense_rate_is_refused(rate: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"RateLimiter\.rate = .*above 0"):
        RateLimiter(rate)


@pytest.mark.parametrize(
    "options",
    [{"per_s": 0}, {"per_s": 1e9}, {"per_s": 0.001, "rate": 10_000}, {"burst": -1}, {"burst": 1.5}, {"wait_s": -1}],
)
def test_nonsense_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="has to be"):
        RateLimiter(**{"rate": 10, **options})


def test_the_burst_is_by_default_what_one_period_allows() -> None:
    assert RateLimiter(25).burst == 25
    assert RateLimiter(0.5).burst == 1
    assert RateLimiter(25) == RateLimiter(25, burst=25)
