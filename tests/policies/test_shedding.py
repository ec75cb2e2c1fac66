import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from premortem import events
from premortem.errors import ConfigurationError
from premortem.policies import Policy
from premortem.policies.priority import PRIORITIES, Priority, current_priority, priority
from premortem.policies.rejections import CircuitOpenError, OverloadedError
from premortem.policies.shedding import LoadShedder, LoadShedderLayer, LoadSnapshot, Throttle
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


def fed(accepts: int, refusals: int, level: int = 2, **options: Any) -> Throttle:
    throttle = Throttle(LoadShedder(**options))
    for _ in range(accepts):
        throttle.accept(level)
    for _ in range(refusals):
        throttle.refuse(level)
    return throttle


def traffic(layer: LoadShedderLayer, passing: Passing, seconds: int, *, up: bool, per_s: int = 20) -> float:
    """The share of calls that was shed while the other side was up, or down."""
    shed = 0
    for _ in range(seconds * per_s):
        passing.now += 1 / per_s
        try:
            level = layer.enter()
        except OverloadedError:
            shed += 1
        else:
            layer.leave(level, None if up else ConnectionError())
    return shed / (seconds * per_s)


# The formula


@pytest.mark.parametrize(
    ("accepts", "refusals", "chance"),
    [(0, 0, 0), (100, 0, 0), (50, 50, 0), (40, 60, 20 / 101), (10, 90, 80 / 101), (0, 20, 20 / 21)],
)
def test_the_formula_of_the_book(accepts: int, refusals: int, chance: float, passing: Passing) -> None:
    assert passing.now == 1000
    throttle = fed(accepts, refusals, most=1.0)
    assert throttle.chance(2) == pytest.approx(chance)


def test_k_says_how_eager(passing: Passing) -> None:
    assert passing.now == 1000
    assert fed(60, 40, k=1.1).chance(2) == pytest.approx((100 - 66) / 101)
    assert fed(60, 40, k=2).chance(2) == 0


def test_below_a_few_requests_nothing_is_shed(passing: Passing) -> None:
    assert passing.now == 1000
    assert fed(0, 9).chance(2) == 0
    assert fed(0, 10).chance(2) > 0.8
    assert not fed(10, 1).calm
    assert fed(0, 1, calls=0).chance(2) == 0.5


def test_some_are_always_let_through(passing: Passing) -> None:
    assert passing.now == 1000
    assert fed(0, 100_000).chance(2) == pytest.approx(0.9, abs=0.001)


def test_the_window_forgets(passing: Passing) -> None:
    throttle = fed(40, 60)
    passing.now += 117
    assert throttle.snapshot().requests == 100
    passing.now += 4
    assert throttle.snapshot() == LoadSnapshot(0, 0, 0.0)
    assert throttle.calm


class ThrottleMachine(RuleBasedStateMachine):
    """Against a list of everything that ever happened."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = TIME.monotonic
        self.now = 0.0  # whole slices of 2 s, so that both forget at the same moment
        TIME.monotonic = lambda: self.now
        self.spec = LoadShedder(calls=4, most=0.95)
        self.throttle = Throttle(self.spec)
        self.all: list[tuple[float, int, bool]] = []

    @rule(level=st.integers(0, 3), times=st.integers(1, 10))
    def accept(self, level: int, times: int) -> None:
        for _ in range(times):
            self.throttle.accept(level)
            self.all.append((self.now, level, True))

    @rule(level=st.integers(0, 3), times=st.integers(1, 10))
    def refuse(self, level: int, times: int) -> None:
        for _ in range(times):
            self.throttle.refuse(level)
            self.all.append((self.now, level, False))

    @rule(slices=st.integers(1, 40))
    def time_passes(self, slices: int) -> None:
        self.throttle.snapshot()  # what is not counted yet belongs to the slice that it came in
        self.now += 2.0 * slices

    @invariant()
    def agrees(self) -> None:
        recent = [(level, accepted) for at, level, accepted in self.all if at > self.now - 120]
        requests, accepts = len(recent), sum(accepted for _, accepted in recent)
        shed = max(0.0, min(0.95, (requests - 2 * accepts) / (requests + 1))) if requests >= 4 else 0.0
        left = shed * (requests + 1)
        for level in range(4):
            mine = sum(of == level for of, _ in recent)
            assert self.throttle.chance(level) == pytest.approx(max(0, min(1, left / (mine + 1))))
            left -= mine
        now = self.throttle.snapshot()
        assert (now.requests, now.accepts) == (requests, accepts)
        assert now.shed == pytest.approx(shed)
        if self.throttle.calm:
            assert requests == accepts

    def teardown(self) -> None:
        TIME.monotonic = self.kept


ThrottleMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestThrottleAgainstTheModel = ThrottleMachine.TestCase


# At work


def test_it_sheds_in_an_outage_and_stops_after_recovery(passing: Passing) -> None:
    layer = LoadShedder().layer("p")
    layer.random.seed(1)
    assert traffic(layer, passing, 120, up=True) == 0
    assert traffic(layer, passing, 60, up=False) < 0.3  # half of the window is still good
    assert traffic(layer, passing, 120, up=False) > 0.4
    assert traffic(layer, passing, 60, up=False) == pytest.approx(0.9, abs=0.05)
    traffic(layer, passing, 480, up=True)
    assert traffic(layer, passing, 120, up=True) == 0
    assert layer.snapshot().shed == 0


def test_without_failures_it_neither_locks_nor_sheds(passing: Passing) -> None:
    layer = LoadShedder().layer("p")
    layer.throttle.chance = None  # type: ignore[method-assign, assignment] # must not be asked
    assert traffic(layer, passing, 300, up=True) == 0
    assert layer.snapshot().requests == pytest.approx(120 * 20, rel=0.02)


def test_the_higher_a_priority_the_later_it_is_shed(passing: Passing) -> None:
    layer = LoadShedder(most=1.0).layer("p")
    layer.random.seed(1)
    shed = dict.fromkeys(PRIORITIES, 0)
    rounds = 4000
    for number in range(rounds):
        passing.now += 0.05
        capacity = 1 + (number % 5 == 0)  # the other side takes 1.2 calls of 4 a round: p is 1 - 2 * 0.3 = 0.4
        for name in PRIORITIES[number % 4 :] + PRIORITIES[: number % 4]:
            with priority(name):
                try:
                    level = layer.enter()
                except OverloadedError:
                    shed[name] += 1
                else:
                    layer.leave(level, None if capacity > 0 else TimeoutError())
                    capacity -= 1
    share = {name: count / rounds for name, count in shed.items()}
    assert share["sheddable"] > 0.9
    assert share["sheddable"] >= share["sheddable_plus"] >= share["critical"] >= share["critical_plus"]
    assert share["sheddable_plus"] == pytest.approx(0.6, abs=0.1)
    assert share["critical"] == share["critical_plus"] == 0


def test_what_is_shed_is_taken_from_below(passing: Passing) -> None:
    assert passing.now == 1000
    throttle = Throttle(LoadShedder(most=1.0))
    for level in range(4):
        for _ in range(5):
            throttle.accept(level)
            for _ in range(3):
                throttle.refuse(level)
    # 80 requests, 20 accepts: 40 calls go, of 20 on each level
    assert throttle.snapshot().shed == pytest.approx(40 / 81)
    assert [throttle.chance(level) for level in range(4)] == pytest.approx([1, 20 / 21, 0, 0])


# For def and async def


@pytest.mark.parametrize("kind", ["sync", "async"])
class TestCalls:
    @pytest.mark.parametrize(
        ("error", "counted"),
        [
            (None, (1, 1)),
            (ConnectionError(), (1, 0)),
            (TimeoutError(), (1, 0)),
            (ValueError(), (1, 1)),  # an answer, too
            (CircuitOpenError("inner", "open"), (0, 0)),
            (KeyboardInterrupt(), (0, 0)),
            (SystemExit(), (0, 0)),
            (asyncio.CancelledError(), (0, 0)),
        ],
        ids=repr,
    )
    def test_what_counts(self, caller: Caller, error: BaseException | None, counted: tuple[int, int]) -> None:
        policy = Policy("p", LoadShedder())

        def work() -> None:
            if error is not None:
                raise error

        call = caller(policy, work)
        if error is None:
            call()
        else:
            with pytest.raises(type(error)):
                call()
        now = policy.layer(LoadShedderLayer).snapshot()
        assert (now.requests, now.accepts) == counted

    def test_a_shed_call_says_why_and_counts_as_a_request(self, caller: Caller) -> None:
        policy = Policy("orders", LoadShedder(most=1.0))
        layer, seen = policy.layer(LoadShedderLayer), list[events.Event]()
        for _ in range(99):
            layer.throttle.refuse(0)
        layer.random.random = lambda: 0.5  # type: ignore[method-assign]
        call = caller(policy, lambda: None)
        call()  # critical: not before all that is sheddable is shed
        with (
            events.listening(seen.append),
            priority("sheddable"),
            pytest.raises(OverloadedError, match=r"'orders': shed with probability 0\.9\d as sheddable"),
        ):
            call()
        assert layer.snapshot().requests == 101
        assert [event.name for event in seen] == ["policy.shed"]
        assert [name for name, _ in seen[0].fields] == ["policy", "priority", "chance"]


def test_threads_lose_no_count() -> None:
    throttle = Throttle(LoadShedder())

    def thread() -> None:
        for number in range(5000):
            if number % 10:
                throttle.accept(number % 4)
            else:
                throttle.refuse(number % 4)

    threads = [threading.Thread(target=thread) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(30)
    now = throttle.snapshot()
    assert (now.requests, now.accepts) == (20_000, 18_000)


# Priorities


def test_a_call_is_critical_unless_it_is_said_otherwise() -> None:
    assert current_priority() == "critical"
    with priority("sheddable"):
        with priority("critical_plus"):
            assert current_priority() == "critical_plus"
        assert current_priority() == "sheddable"
    assert current_priority() == "critical"


def test_a_priority_goes_along_into_tasks_and_no_further() -> None:
    async def ask() -> Priority:
        await asyncio.sleep(0)
        return current_priority()

    async def story() -> list[Priority]:
        with priority("sheddable"):
            below = asyncio.create_task(ask())
        return [await below, await ask()]

    assert asyncio.run(story()) == ["sheddable", "critical"]


def test_a_priority_decorates_a_function() -> None:
    @priority("sheddable_plus")
    def work() -> Priority:
        return current_priority()

    assert [work(), work()] == ["sheddable_plus"] * 2
    assert current_priority() == "critical"


@pytest.mark.parametrize("name", ["high", 1, None])
def test_an_unknown_priority_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="has to be one of sheddable, "), priority(name):
        pass


# Specs


@pytest.mark.parametrize(
    "options",
    [{"k": 0.5}, {"k": "2"}, {"window_s": 0}, {"calls": -1}, {"most": 0}, {"most": 1.5}, {"on": KeyboardInterrupt}],
    ids=repr,
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"LoadShedder\.\w+ = .*has to be"):
        LoadShedder(**options)
