"""Hedge: a second call against a slow first one, paid for, and nothing left behind."""

import asyncio
import random
import threading
import time
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies.budget import RetryBudget
from premortem.policies.hedging import Hedge, HedgeLayer
from premortem.policies.latency import RING, LivePercentile
from premortem.policies.policy import Policy
from premortem.policies.rejections import AttemptTimeoutError, DeadlineExceededError
from premortem.policies.timeouts import Deadline, Timeout


def hedge(delay_s: float = 0.03, **rest: Any) -> Hedge:
    return Hedge(delay_s, idempotent=True, **rest)


def test_it_wants_to_be_told_that_the_call_is_idempotent() -> None:
    for said in ({}, {"idempotent": False}, {"idempotent": "yes"}):
        with pytest.raises(ConfigurationError, match="idempotent=True"):
            Hedge(0.1, **said)


@pytest.mark.parametrize(
    "nonsense",
    [{"delay_s": 0}, {"delay_s": "0.1"}, {"calls": 1}, {"calls": 10_000}, {"percentile": 95}, {"percentile": True}],
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(nonsense))):
        Hedge(**{"delay_s": 0.1, "idempotent": True, **nonsense})


class Dependency:
    """Takes, for its calls in turn, so many seconds and then answers with the call's number or raises."""

    def __init__(self, *plan: float | tuple[float, BaseException]) -> None:
        self.plan = plan
        self.calls = 0
        self.cancelled: list[int] = []

    def _next(self) -> tuple[int, float, BaseException | None]:
        number, self.calls = self.calls, self.calls + 1
        step = self.plan[number]
        seconds, error = step if isinstance(step, tuple) else (step, None)
        return number + 1, seconds, error

    def sync(self) -> int:
        number, seconds, error = self._next()
        time.sleep(seconds)
        if error is not None:
            raise error
        return number

    async def coroutine(self) -> int:
        number, seconds, error = self._next()
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise
        if error is not None:
            raise error
        return number


class Conformance:
    def run(self, policy: Policy, dependency: Dependency) -> int:
        raise NotImplementedError

    def test_a_quick_answer_is_not_hedged(self) -> None:
        dependency = Dependency(0, 0)
        assert self.run(Policy("p", hedge(1)), dependency) == 1
        assert dependency.calls == 1

    def test_a_slow_first_call_is_overtaken(self) -> None:
        dependency, heard = Dependency(1.5, 0), list[Event]()
        began = time.monotonic()
        with listening(heard.append):
            assert self.run(Policy("p", hedge()), dependency) == 2
        assert time.monotonic() - began < 0.6
        assert [event.name for event in heard] == ["policy.hedge", "policy.hedge_won"]
        assert [event.get("call") for event in heard] == [2, 2]

    def test_the_first_may_still_win(self) -> None:
        dependency = Dependency(0.1, 1.5)
        assert self.run(Policy("p", hedge()), dependency) == 1
        assert dependency.calls == 2

    def test_at_most_so_many_calls(self) -> None:
        dependency = Dependency(0.3, 0.9, 0.9, 0.9)
        assert self.run(Policy("p", hedge(calls=3)), dependency) == 1
        assert dependency.calls == 3

    def test_an_error_before_the_delay_is_a_retrys_business(self) -> None:
        dependency = Dependency((0, ConnectionError("down")), 0)
        with pytest.raises(ConnectionError, match="down"):
            self.run(Policy("p", hedge()), dependency)
        assert dependency.calls == 1

    def test_an_error_is_waited_out_while_another_call_is_on_its_way(self) -> None:
        dependency = Dependency((0.08, ConnectionError("down")), 0.15)
        assert self.run(Policy("p", hedge()), dependency) == 2
        dependency = Dependency(0.15, (0, ConnectionError("down")))
        assert self.run(Policy("p", hedge()), dependency) == 1

    def test_when_all_fail_the_first_ones_error_is_raised(self) -> None:
        dependency = Dependency((0.08, ConnectionError("first")), (0.1, ConnectionError("second")))
        with pytest.raises(ConnectionError, match="first"):
            self.run(Policy("p", hedge()), dependency)
        dependency = Dependency((0.12, ConnectionError("first")), (0, ConnectionError("second")))
        with pytest.raises(ConnectionError, match="first"):
            self.run(Policy("p", hedge()), dependency)

    def test_the_budget_is_shared_and_holds(self) -> None:
        budget, heard = RetryBudget(share=0, floor_per_s=0.1), list[Event]()
        policy = Policy("p", hedge(budget=budget))
        assert self.run(policy, Dependency(0.9, 0)) == 2
        with listening(heard.append):
            assert self.run(policy, Dependency(0.1, 0)) == 1, "the budget of one hedge in 10 s is used up"
        assert [event.name for event in heard] == ["policy.hedge_refused"]
        assert not budget.withdraw()

    def test_a_deadline_ends_all_of_them(self) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            self.run(Policy("p", Deadline(0.15), hedge()), Dependency(1.5, 1.5))
        assert time.monotonic() - began < 0.6

    def test_a_timeout_inside_is_each_calls_own(self) -> None:
        with pytest.raises(AttemptTimeoutError):
            self.run(Policy("p", hedge(), Timeout(0.1)), Dependency(1.5, 1.5))

    def test_the_delay_follows_the_live_percentile(self) -> None:
        policy = Policy("p", hedge(0.5, percentile=0.9))
        layer = policy.layer(HedgeLayer)
        assert layer.latency is not None
        assert layer.delay_s() == 0.5
        for _ in range(64):
            layer.latency.record(0.02)
        assert layer.delay_s() == 0.02
        began = time.monotonic()
        assert self.run(policy, Dependency(1.5, 0)) == 2
        assert time.monotonic() - began < 0.4
        assert max(layer.latency._ring) > 0.02, "the loser counts, with the time it had at least"


class TestCoroutines(Conformance):
    def run(self, policy: Policy, dependency: Dependency) -> int:
        async def main() -> int:
            try:
                return await policy(dependency.coroutine)()
            finally:
                tasks = asyncio.all_tasks() - {asyncio.current_task()}
                assert not tasks, "a task is left behind"
                current = asyncio.current_task()
                assert current is not None
                assert current.cancelling() == 0

        return asyncio.run(main())

    def test_the_losers_are_cancelled(self) -> None:
        dependency = Dependency(1.5, 0.1, 1.5)
        assert self.run(Policy("p", hedge(calls=3)), dependency) == 2
        assert sorted(dependency.cancelled) == [1, 3]

    def test_outer_cancellation_cancels_all_and_stays_cancellation(self) -> None:
        dependency = Dependency(1.5, 1.5)

        async def main() -> None:
            task = asyncio.ensure_future(Policy("p", hedge())(dependency.coroutine)())
            await asyncio.sleep(0.1)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(main())
        assert sorted(dependency.cancelled) == [1, 2]

    def test_outer_cancellation_wins_when_a_hedge_answers_at_once(self) -> None:
        async def main() -> None:
            answer = asyncio.Event()
            calls = 0

            async def first_hangs() -> str:
                nonlocal calls
                calls += 1
                if calls == 1:
                    await asyncio.sleep(2)
                await answer.wait()
                return "hedge"

            task = asyncio.ensure_future(Policy("p", hedge(0.01))(first_hangs)())
            await asyncio.sleep(0.05)
            answer.set()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(main())

    def test_a_first_call_that_ignores_its_cancellation_does_not_change_the_winner(self) -> None:
        calls = 0

        async def stubborn() -> str:
            nonlocal calls
            calls += 1
            if calls > 1:
                return "hedge"
            try:
                await asyncio.sleep(2)
            except asyncio.CancelledError:
                return "late"
            return "first"

        async def main() -> None:
            current = asyncio.current_task()
            assert current is not None
            assert await Policy("p", hedge(0.01))(stubborn)() == "hedge"
            assert current.cancelling() == 0

        asyncio.run(main())

    def test_a_loser_that_ignores_its_cancellation_cancels_nobody(self) -> None:
        calls = 0

        async def stubborn() -> str:
            nonlocal calls
            calls += 1
            if calls == 1:
                await asyncio.sleep(0.1)
                return "first"
            try:
                await asyncio.sleep(2)
            except asyncio.CancelledError:
                return "late"
            return "hedge"

        async def main() -> None:
            current = asyncio.current_task()
            assert current is not None
            assert await Policy("p", hedge(0.01))(stubborn)() == "first"
            assert current.cancelling() == 0
            assert len(asyncio.all_tasks()) == 1

        asyncio.run(main())

    def test_nothing_begins_after_the_end(self) -> None:
        dependency = Dependency(0, 0)

        async def main() -> None:
            await Policy("p", hedge(0.02))(dependency.coroutine)()
            await asyncio.sleep(0.08)

        asyncio.run(main())
        assert dependency.calls == 1


class TestFunctions(Conformance):
    def run(self, policy: Policy, dependency: Dependency) -> int:
        return policy(dependency.sync)()

    def test_an_interrupt_is_not_waited_out(self) -> None:
        with pytest.raises(KeyboardInterrupt):
            self.run(Policy("p", hedge()), Dependency((0.1, KeyboardInterrupt()), 1.5))


def test_the_percentile_is_that_of_the_ring() -> None:
    chance, live = random.Random(1), LivePercentile(0.9)
    values = [chance.expovariate(1) for _ in range(1000 - 1000 % 16)]
    for value in values:
        live.record(value)
    assert live.value_s == sorted(values[-RING:])[int(RING * 0.9)]
    for _ in range(RING + 16):
        live.record(100)
    assert live.value_s == 100, "it forgets"


def test_too_few_latencies_make_no_percentile() -> None:
    live = LivePercentile(0.9)
    for _ in range(31):
        live.record(1)
    assert live.value_s is None
    live.record(1)
    assert live.value_s == 1


def test_threads_record_at_once() -> None:
    live = LivePercentile(0.5)

    def hammer() -> None:
        for _ in range(2000):
            live.record(0.5)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert live.value_s == 0.5
    assert RING <= len(live._ring) <= RING + 4
