"""The circuit breaker at work: what it promises, sync and async, by threads, by tasks, against a model."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Protocol

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies import Policy
from premortem.policies.breaker import CircuitBreaker, CircuitBreakerLayer, Permit
from premortem.policies.breaker_machine import Circuit, State
from premortem.policies.breaker_store import MemoryStore
from premortem.policies.rejections import BulkheadFullError, CircuitOpenError
from premortem.policies.timing import TIME
from premortem.policies.windows import Consecutive, RateOfLast, RateWithin, SlowCalls

BOUND_S = 10.0  # of everything that really waits


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    kept, TIME.monotonic = TIME.monotonic, Clock()
    yield TIME.monotonic
    TIME.monotonic = kept


@pytest.fixture
def events() -> Iterator[list[Event]]:
    heard: list[Event] = []
    with listening(heard.append):
        yield heard


def names(events: list[Event]) -> list[str]:
    return [event.name.removeprefix("policy.breaker_") for event in events]


class Ended(Protocol):
    """Makes one guarded call that ends with `outcome` and takes `took_s`; raises what comes out."""

    def __call__(self, layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None: ...


def pass_time(seconds: float) -> None:
    if seconds:
        assert isinstance(TIME.monotonic, Clock)
        TIME.monotonic.now += seconds


def sync_call(layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None:
    def dependency() -> None:
        pass_time(took_s)
        if outcome is not None:
            raise outcome

    _policy(layer)(dependency)()


def async_call(layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None:
    async def dependency() -> None:
        pass_time(took_s)
        if outcome is not None:
            raise outcome

    _run(_policy(layer)(dependency)())


def block_call(layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None:
    with _policy(layer).block():
        pass_time(took_s)
        if outcome is not None:
            raise outcome


def fused_call(layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None:
    """As generated source uses the layer: without enter and leave."""
    permit = layer.ticket or layer.admit()
    try:
        pass_time(took_s)
        if outcome is not None:
            raise outcome  # noqa: TRY301 - as the generated source has the call in its place
    except layer.counts as error:
        layer.failed(permit, error)
        raise
    except BaseException:
        layer.released(permit)
        raise
    layer.succeeded(permit)


def _run(waits: Awaitable[None]) -> None:
    """To the end, by hand: asyncio would not let KeyboardInterrupt and the like out as they are."""
    with pytest.raises(StopIteration):
        waits.__await__().send(None)


def _policy(layer: CircuitBreakerLayer) -> Policy:
    policy = Policy("orders", layer.spec)
    policy.layers = (layer,)
    return policy


def end(call: Ended, layer: CircuitBreakerLayer, outcome: BaseException | None = None, took_s: float = 0) -> None:
    """One call, whose own error is expected."""
    if outcome is None:
        call(layer, None, took_s)
        return
    with pytest.raises(type(outcome)) as raised:
        call(layer, outcome, took_s)
    assert raised.value is outcome


def trip(call: Ended, layer: CircuitBreakerLayer, failures: int = 5) -> None:
    for _ in range(failures):
        end(call, layer, OSError("down"))
    assert layer.snapshot().state is State.OPEN


def new(spec: CircuitBreaker | None = None) -> CircuitBreakerLayer:
    return (spec or CircuitBreaker()).layer("orders")


@pytest.mark.parametrize("call", [sync_call, async_call, block_call, fused_call])
class TestEveryWayToCall:
    def test_default_opens_at_five_failures_in_thirty_seconds_and_recovers_after_sixty(
        self, call: Ended, clock: Clock
    ) -> None:
        layer = new()
        for _ in range(4):
            end(call, layer, OSError())
            end(call, layer)
        end(call, layer, OSError())
        clock.now += 59.9
        with pytest.raises(CircuitOpenError) as rejected:
            call(layer)
        assert rejected.value.retry_after_s == pytest.approx(0.1)
        assert rejected.value.policy == "orders"
        clock.now += 0.2
        end(call, layer)
        assert layer.snapshot().state is State.CLOSED

    def test_consecutive_begins_anew_with_a_success(self, call: Ended) -> None:
        layer = new(CircuitBreaker(Consecutive(3)))
        for outcome in (OSError(), OSError(), None, OSError(), OSError()):
            end(call, layer, outcome)
        assert layer.snapshot().state is State.CLOSED
        end(call, layer, OSError())
        assert layer.snapshot().state is State.OPEN

    def test_a_rate_counts_successes(self, call: Ended) -> None:
        layer = new(CircuitBreaker(RateOfLast(0.5, 10, 4)))
        for outcome in (None, None, None, OSError(), OSError()):
            end(call, layer, outcome)
        assert (layer.snapshot().failures, layer.snapshot().calls) == (2, 5)
        assert layer.snapshot().state is State.CLOSED
        end(call, layer, OSError())
        assert layer.snapshot().state is State.OPEN

    def test_a_rate_over_time_forgets(self, call: Ended, clock: Clock) -> None:
        layer = new(CircuitBreaker(RateWithin(0.5, 10, 4)))
        for _ in range(3):
            end(call, layer, OSError())
        clock.now += 11
        for outcome in (OSError(), None, None):
            end(call, layer, outcome)
        assert (layer.snapshot().failures, layer.snapshot().calls) == (1, 3)
        end(call, layer, OSError())
        assert layer.snapshot().state is State.OPEN

    @pytest.mark.usefixtures("clock")
    def test_slow_calls_open_it_and_a_slow_probe_does_so_again(self, call: Ended) -> None:
        layer = new(CircuitBreaker(slow=SlowCalls(1.0, rate=0.5, calls=10, minimum=4), recovery_s=10))
        for took_s in (0.5, 0.5, 1.5):
            end(call, layer, None, took_s)
        assert layer.snapshot().state is State.CLOSED
        end(call, layer, OSError(), 1.5)  # slow and failed
        assert layer.snapshot().state is State.OPEN
        pass_time(10)
        end(call, layer, None, 1.5)
        assert layer.snapshot().state is State.OPEN
        pass_time(10)
        end(call, layer, None, 0.5)
        assert layer.snapshot().state is State.CLOSED

    def test_failures_and_ignore_say_what_counts(self, call: Ended) -> None:
        layer = new(CircuitBreaker(Consecutive(1), failures=OSError, ignore=FileNotFoundError))
        for harmless in (ValueError(), FileNotFoundError()):
            end(call, layer, harmless)
        assert layer.snapshot().state is State.CLOSED
        end(call, layer, PermissionError())
        assert layer.snapshot().state is State.OPEN

    def test_an_error_that_is_no_failure_is_no_success_either(self, call: Ended) -> None:
        layer = new(CircuitBreaker(Consecutive(3), failures=OSError))
        for outcome in (OSError(), OSError(), ValueError(), asyncio.CancelledError(), OSError()):
            end(call, layer, outcome)
        assert layer.snapshot().state is State.OPEN

    def test_what_another_policy_rejected_is_no_failure(self, call: Ended) -> None:
        layer = new(CircuitBreaker(Consecutive(1)))
        end(call, layer, BulkheadFullError("orders", "full"))
        assert layer.snapshot().state is State.CLOSED

    @pytest.mark.parametrize("leaving", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
    def test_twenty_calls_that_leave_do_not_open_it_and_a_probe_gives_its_slot_back(
        self, call: Ended, leaving: type[BaseException], clock: Clock
    ) -> None:
        layer = new()
        for _ in range(20):
            end(call, layer, leaving())
        assert layer.snapshot() == new().snapshot()
        trip(call, layer)
        clock.now += 61
        for _ in range(3):
            end(call, layer, leaving())
            assert layer.snapshot().state is State.HALF_OPEN
        end(call, layer)
        assert layer.snapshot().state is State.CLOSED

    @pytest.mark.parametrize("unlisted", [ValueError, FileNotFoundError])
    def test_a_probe_with_an_error_that_does_not_count_does_not_wedge(
        self, call: Ended, unlisted: type[Exception], clock: Clock
    ) -> None:
        layer = new(CircuitBreaker(failures=OSError, ignore=FileNotFoundError))
        trip(call, layer)
        clock.now += 61
        for _ in range(3):
            end(call, layer, unlisted())
        end(call, layer)
        assert layer.snapshot().state is State.CLOSED

    def test_open_time_grows(self, call: Ended, clock: Clock) -> None:
        layer = new(CircuitBreaker(recovery_s=10, growth=3, recovery_cap_s=60))
        trip(call, layer)
        for open_s in (10, 30, 60, 60):
            assert layer.snapshot().next_probe_s == pytest.approx(open_s)
            clock.now += open_s
            end(call, layer, OSError())

    def test_it_takes_as_many_successes_as_told(self, call: Ended, clock: Clock) -> None:
        layer = new(CircuitBreaker(successes=3))
        trip(call, layer)
        clock.now += 60
        for state in (State.HALF_OPEN, State.HALF_OPEN, State.CLOSED):
            end(call, layer)
            assert layer.snapshot().state is state

    def test_by_hand(self, call: Ended, clock: Clock) -> None:
        layer = new()
        layer.open()
        with pytest.raises(CircuitOpenError):
            call(layer)
        clock.now += 60
        end(call, layer)
        layer.isolate()
        layer.open()  # does not weaken it
        clock.now += 1e6
        with pytest.raises(CircuitOpenError, match="isolated") as rejected:
            call(layer)
        assert rejected.value.retry_after_s is None
        layer.close()
        end(call, layer)
        for _ in range(4):
            end(call, layer, OSError())
        layer.close()  # forgets
        end(call, layer, OSError())
        assert layer.snapshot().state is State.CLOSED

    def test_events_tell_every_change_with_the_numbers_of_that_moment(
        self, call: Ended, clock: Clock, events: list[Event]
    ) -> None:
        layer = new(CircuitBreaker(RateOfLast(0.5, 10, 4)))
        for outcome in (None, None, OSError(), OSError()):
            end(call, layer, outcome)
        with pytest.raises(CircuitOpenError):
            call(layer)
        clock.now += 60
        end(call, layer)
        layer.isolate()
        assert names(events) == ["opened", "rejected", "half_open", "closed", "opened"]
        assert events[0].fields == (
            ("policy", "orders"), ("era", 1), ("why", "too many failures"), ("state", "open"), ("failures", 2),
            ("calls", 4), ("openings", 1), ("open_s", 60.0),
        )  # fmt: skip
        assert events[1].fields == (("policy", "orders"), ("state", "open"), ("retry_after_s", 60.0))
        assert events[2].fields == (("policy", "orders"), ("era", 2), ("probes", 1))
        assert events[3].fields == (
            ("policy", "orders"), ("era", 3), ("why", "enough probes succeeded"), ("open_for_s", 60.0)
        )  # fmt: skip
        assert (events[4].get("state"), events[4].get("open_s")) == ("isolated", None)


class TestEras:
    def test_a_success_admitted_before_the_trip_does_not_close_it(self, clock: Clock) -> None:
        layer = new()
        early = layer.enter()
        trip(sync_call, layer)
        layer.leave(early, None)
        assert layer.snapshot().state is State.OPEN
        clock.now += 60
        probe = layer.enter()
        layer.leave(early, None)
        assert layer.snapshot().state is State.HALF_OPEN
        layer.leave(probe, None)
        assert layer.snapshot().state is State.CLOSED

    def test_failures_admitted_before_the_trip_open_nothing(self, clock: Clock) -> None:
        layer = new(CircuitBreaker(Consecutive(2)))
        early = [layer.enter() for _ in range(10)]
        trip(sync_call, layer, 2)
        layer.leave(early[0], OSError())
        clock.now += 60
        probe = layer.enter()
        layer.leave(early[1], OSError())
        assert layer.snapshot().state is State.HALF_OPEN
        layer.leave(probe, None)
        for permit in early[2:]:
            layer.leave(permit, OSError())
        assert layer.snapshot().state is State.CLOSED
        assert layer.snapshot().failures == 0

    def test_an_old_success_does_not_water_down_the_new_rate(self) -> None:
        layer = new(CircuitBreaker(RateOfLast(0.5, 10, 2)))
        early = layer.enter()
        layer.close()
        layer.leave(early, None)
        assert layer.snapshot().calls == 0

    def test_a_probe_of_an_older_half_open_decides_nothing(self, clock: Clock) -> None:
        layer = new(CircuitBreaker(probes=2))
        trip(sync_call, layer)
        clock.now += 60
        early, other = layer.enter(), layer.enter()
        layer.leave(other, OSError())
        clock.now += 60
        late = layer.enter()
        layer.leave(early, None)
        assert layer.snapshot().state is State.HALF_OPEN
        layer.leave(late, None)
        assert layer.snapshot().state is State.CLOSED

    def test_a_chain_without_permits_may_say_none_for_a_closed_one(self) -> None:
        layer = new(CircuitBreaker(RateOfLast(0.5, 10, 4)))
        assert layer.ticket is not None
        assert new().gate is None
        layer.succeeded(None)
        layer.released(None)
        for _ in range(3):
            layer.failed(None, OSError())
        assert layer.gate is layer
        layer.succeeded(None)
        assert layer.snapshot().calls == 4


@pytest.mark.parametrize("probes", [1, 3])
class TestTwentyAtOnceAfterTheRecoveryTime:
    def test_threads(self, probes: int, clock: Clock) -> None:
        layer = new(CircuitBreaker(probes=probes, successes=probes))
        trip(sync_call, layer)
        clock.now += 60
        start, hold = threading.Barrier(20), threading.Event()
        reached: list[int] = []
        refused: list[CircuitOpenError] = []

        @_policy(layer)
        def dependency() -> None:
            reached.append(1)
            assert hold.wait(BOUND_S)

        def caller() -> None:
            start.wait(BOUND_S)
            try:
                dependency()
            except CircuitOpenError as error:
                refused.append(error)
            if len(reached) + len(refused) == 20:
                hold.set()  # the probes answer when everybody has asked

        with ThreadPoolExecutor(20) as pool:
            list(pool.map(lambda _: caller(), range(20)))
        assert (len(reached), len(refused)) == (probes, 20 - probes)
        assert all(error.retry_after_s for error in refused)
        assert layer.snapshot().state is State.CLOSED

    def test_tasks(self, probes: int, clock: Clock) -> None:
        layer = new(CircuitBreaker(probes=probes, successes=probes))
        trip(sync_call, layer)
        clock.now += 60
        reached = []

        async def main() -> list[BaseException | None]:
            hold = asyncio.Event()

            @_policy(layer)
            async def dependency() -> None:
                reached.append(1)
                await hold.wait()

            tasks = [asyncio.ensure_future(dependency()) for _ in range(20)]
            await asyncio.sleep(0)
            hold.set()
            return await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), BOUND_S)

        refused = [answer for answer in asyncio.run(main()) if isinstance(answer, CircuitOpenError)]
        assert (len(reached), len(refused)) == (probes, 20 - probes)
        assert all(error.retry_after_s for error in refused)

    def test_cancelled_tasks_give_their_slots_back(self, probes: int, clock: Clock) -> None:
        layer = new(CircuitBreaker(probes=probes))
        trip(sync_call, layer)
        clock.now += 60

        async def main() -> None:
            @_policy(layer)
            async def dependency() -> None:
                await asyncio.Event().wait()

            for _ in range(3):
                tasks = [asyncio.ensure_future(dependency()) for _ in range(probes)]
                await asyncio.sleep(0)
                for task in tasks:
                    task.cancel()
                ended = await asyncio.gather(*tasks, return_exceptions=True)
                assert all(isinstance(one, asyncio.CancelledError) for one in ended)

        asyncio.run(main())
        sync_call(layer)
        assert layer.snapshot().state is State.CLOSED


class TestHappyPath:
    @pytest.mark.parametrize("trip", [CircuitBreaker().trip, Consecutive(), RateOfLast()], ids=repr)
    def test_no_clock_no_lock_nothing_built(self, trip: object, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        layer = new(CircuitBreaker(trip))  # type: ignore[arg-type]

        class Forbidden:
            def __enter__(self) -> NoReturn:
                raise AssertionError("locked")

            def __exit__(self, *_: object) -> None: ...

        def read() -> NoReturn:
            raise AssertionError("read the clock")

        monkeypatch.setattr(layer, "_counting", Forbidden())
        monkeypatch.setattr(layer, "_changing", Forbidden())
        monkeypatch.setattr(TIME, "monotonic", read)
        for call in (sync_call, async_call, block_call, fused_call):
            call(layer)
        monkeypatch.setattr(TIME, "monotonic", clock)
        assert layer.enter() is layer.enter()

    def test_no_lock_is_held_while_the_function_runs(self) -> None:
        layer, start = new(), threading.Barrier(8)
        together = _policy(layer)(lambda: start.wait(BOUND_S))  # passes only when all eight are inside
        with ThreadPoolExecutor(8) as pool:
            assert sorted(pool.map(lambda _: together(), range(8))) == list(range(8))


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads take turns after every few instructions, so that a race shows."""
    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(kept)


@pytest.mark.usefixtures("restless")
def test_threads_hammer_it_and_no_count_is_lost() -> None:
    layer = new(CircuitBreaker(RateOfLast(1.0, 8000, 8000)))

    def caller(error: Exception | None) -> None:
        for _ in range(1000):
            layer.leave(layer.enter(), error)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, [OSError(), None] * 4))
    assert (layer.snapshot().failures, layer.snapshot().calls) == (4000, 8000)


@pytest.mark.usefixtures("restless")
def test_threads_hammer_changes_and_it_ends_in_order() -> None:
    layer = new(CircuitBreaker(Consecutive(1), recovery_s=0.001, probes=2))
    heard: list[Event] = []
    inside: list[int] = []

    def caller(number: int) -> None:
        with listening(heard.append):
            for turn in range(300):
                try:
                    permit = layer.enter()
                except CircuitOpenError:
                    continue
                if permit.probe:
                    inside.append(permit.era)
                layer.leave(permit, (OSError(), None, asyncio.CancelledError())[(turn + number) % 3])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(caller, range(8)))
    eras = {event.get("era") for event in heard if event.name != "policy.breaker_rejected"}
    assert eras == set(
        range(1, 1 + sum(event.name != "policy.breaker_rejected" for event in heard))
    )  # every era was told once
    assert layer._circuit == layer._store.read()[0]
    layer.close()
    assert layer.ticket is layer.enter()
    assert layer.snapshot().state is State.CLOSED


def test_changes_are_followed_in_their_order() -> None:
    layer, swapped, go = new(), threading.Event(), threading.Event()

    class Pausing(MemoryStore):
        def swap(self, before: Circuit, after: Circuit) -> bool:
            done = super().swap(before, after)
            if after.state is State.OPEN:
                swapped.set()
                assert go.wait(BOUND_S)
            return done

    layer._store = Pausing()
    opening, closing = threading.Thread(target=layer.open), threading.Thread(target=layer.close)
    opening.start()
    assert swapped.wait(BOUND_S)
    closing.start()
    closing.join(0.05)  # were it not to wait for the other one, it would be through by now
    go.set()
    opening.join(BOUND_S)
    closing.join(BOUND_S)
    assert layer.snapshot().state is layer._store.read()[0].state is State.CLOSED


def test_failures_are_counted_one_at_a_time() -> None:
    layer, inside, most, never = new(), list[int](), list[int](), threading.Event()

    class Watched:
        on_success = None

        def failure(self, now: float) -> bool:
            inside.append(1)
            never.wait(0.005)
            most.append(len(inside))
            inside.pop()
            return now < 0

        def counts(self, now: float) -> tuple[int, int | None]:
            raise NotImplementedError

        def clear(self) -> None:
            raise NotImplementedError

    layer._window = Watched()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: layer.leave(layer.enter(), OSError()), range(8)))
    assert most == [1] * 8


def test_importing_it_brings_neither_asyncio_nor_a_client_nor_threads_of_its_own() -> None:
    script = "import sys, premortem.policies.breaker, premortem.policies.breaker_valkey as _; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"asyncio", "valkey", "concurrent.futures"} & set(ran.stdout.split())


def test_specs_are_values() -> None:
    assert CircuitBreaker() == CircuitBreaker()
    assert hash(CircuitBreaker()) == hash(CircuitBreaker())


@pytest.mark.parametrize(
    "make",
    [
        lambda: CircuitBreaker(5),  # type: ignore[arg-type]
        lambda: CircuitBreaker(recovery_s=0),
        lambda: CircuitBreaker(recovery_s=999_999),
        lambda: CircuitBreaker(recovery_s=math.nan),
        lambda: CircuitBreaker(recovery_s="60"),  # type: ignore[arg-type]
        lambda: CircuitBreaker(failures=BaseException),  # type: ignore[arg-type]
        lambda: CircuitBreaker(failures=()),
        lambda: CircuitBreaker(ignore="OSError"),  # type: ignore[arg-type]
        lambda: CircuitBreaker(probes=0),
        lambda: CircuitBreaker(probes=True),
        lambda: CircuitBreaker(successes=1.5),  # type: ignore[arg-type]
        lambda: CircuitBreaker(probe_limit_s=-1),
        lambda: CircuitBreaker(growth=0.5),
        lambda: CircuitBreaker(growth=math.inf),
        lambda: CircuitBreaker(recovery_s=60, recovery_cap_s=30),
        lambda: CircuitBreaker(slow=2.0),  # type: ignore[arg-type]
    ],
)
def test_nonsense_is_told_with_value_and_rule(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"CircuitBreaker\.\w+ = .*: has to be"):
        make()


class BreakerAgainstModel(RuleBasedStateMachine):
    """A breaker (3 in a row, 10 s, doubled up to 40 s, two probes, three successes) beside a naive one."""

    @initialize()
    def begin(self) -> None:
        self.kept, self.clock = TIME.monotonic, Clock()
        TIME.monotonic = self.clock
        spec = CircuitBreaker(
            Consecutive(3), recovery_s=10, growth=2, recovery_cap_s=40, probes=2, successes=3, probe_limit_s=3600
        )
        self.layer = spec.layer("orders")
        self.state, self.row, self.openings, self.until, self.good = State.CLOSED, 0, 0, 0.0, 0
        self.out: list[tuple[Permit, int]] = []  # with the model's era
        self.era = 0

    def teardown(self) -> None:
        TIME.monotonic = self.kept

    def _to(self, state: State, openings: int = 0) -> None:
        self.state, self.openings, self.row, self.good = state, openings, 0, 0
        self.era += 1
        if state is State.OPEN:
            self.until = self.clock.now + min(40, 10 * 2 ** (openings - 1))

    @rule()
    def enter(self) -> None:
        if self.state is State.OPEN and self.clock.now >= self.until:
            self._to(State.HALF_OPEN, self.openings)
        mine = sum(era == self.era for _, era in self.out)
        if self.state is State.CLOSED or (self.state is State.HALF_OPEN and mine < 2):
            self.out.append((self.layer.enter(), self.era))
            return
        with pytest.raises(CircuitOpenError):
            self.layer.enter()

    @precondition(lambda self: self.out)
    @rule(which=st.integers(0, 50), outcome=st.sampled_from(["good", "good", "bad", "bad", "cancelled"]))
    def leave(self, which: int, outcome: str) -> None:
        permit, era = self.out.pop(which % len(self.out))
        self.layer.leave(permit, {"good": None, "bad": OSError(), "cancelled": asyncio.CancelledError()}[outcome])
        if era != self.era or outcome == "cancelled":
            return
        if self.state is State.CLOSED:
            self.row = self.row + 1 if outcome == "bad" else 0
            if self.row == 3:
                self._to(State.OPEN, 1)
        elif outcome == "bad":
            self._to(State.OPEN, self.openings + 1)
        else:
            self.good += 1
            if self.good == 3:
                self._to(State.CLOSED)

    @rule(seconds=st.sampled_from([1, 9, 10, 20, 40]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule(hand=st.sampled_from(["open", "close", "isolate"]))
    def by_hand(self, hand: str) -> None:
        getattr(self.layer, hand)()
        isolated = self.state is State.ISOLATED and hand != "close"
        target = {"open": State.OPEN, "close": State.CLOSED, "isolate": State.ISOLATED}[hand]
        self._to(State.ISOLATED if isolated else target, 1)

    @invariant()
    def agree(self) -> None:
        snapshot = self.layer.snapshot()
        assert (snapshot.state, snapshot.era) == (self.state, self.era)
        assert (self.layer.ticket is not None) == (self.state is State.CLOSED)
        if self.state is State.CLOSED:
            assert snapshot.failures == self.row
        if self.state is State.OPEN:
            assert snapshot.next_probe_s == pytest.approx(max(0.0, self.until - self.clock.now))


TestBreakerAgainstModel = BreakerAgainstModel.TestCase
TestBreakerAgainstModel.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
