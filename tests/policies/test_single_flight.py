"""SingleFlight: many callers, one call; and whoever leads may fall."""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies.policy import Policy
from premortem.policies.rejections import DeadlineExceededError
from premortem.policies.single_flight import Flight, SingleFlight, SingleFlightLayer
from premortem.policies.stale import StaleCache
from premortem.policies.timeouts import Deadline, Timeout

CALLERS = 20


def test_nonsense_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="key"):
        SingleFlight(key="id")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="share_errors"):
        SingleFlight(share_errors=1)  # type: ignore[arg-type]


class Late(dict[Hashable, Flight]):
    """As another thread sees it that looks a moment too early."""

    def get(self, _key: Hashable, default: Any = None) -> Any:
        return default


def test_of_two_that_find_no_flight_at_once_one_leads() -> None:
    layer = SingleFlight().layer("p")
    layer.flights = Late()
    first, leads = layer.board("key")
    assert leads
    assert layer.board("key") == (first, False)


class FlightModel(RuleBasedStateMachine):
    """Boarding and landing beside a dict of who leads and who waits."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = SingleFlight().layer("p")
        self.led: dict[int, Flight] = {}
        self.waiting: dict[int, list[int]] = {}
        self.woken: list[int] = []

    @rule(key=st.integers(0, 3), name=st.integers())
    def come(self, key: int, name: int) -> None:
        flight, leads = self.layer.board(key)
        assert leads == (key not in self.led)
        if leads:
            self.led[key], self.waiting[key] = flight, []
        else:
            assert flight is self.led[key]
            assert flight.join(lambda: self.woken.append(name))
            self.waiting[key].append(name)

    @rule(
        key=st.integers(0, 3),
        how=st.sampled_from([None, ValueError(), KeyboardInterrupt(), DeadlineExceededError("p", 1)]),
    )
    def land(self, key: int, how: BaseException | None) -> None:
        if key in self.led:
            flight = self.led.pop(key)
            self.woken.clear()
            self.layer.land(key, flight, how)
            assert self.woken == self.waiting.pop(key)
            assert flight.landed
            assert not flight.join(lambda: None)
            assert flight.passed_on == isinstance(how, KeyboardInterrupt)
            assert (flight.error is how) == isinstance(how, Exception | None)


TestFlightModel = FlightModel.TestCase
TestFlightModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


class Conformance:
    """`fetch` gets a key and takes 0.05 s."""

    def crowd(self, policy: Policy, fetch: Callable[[int], Any], keys: list[int]) -> list[Any]:
        """What each of the callers, who come at once, gets or has raised."""
        raise NotImplementedError

    def test_callers_of_one_key_share_one_call(self) -> None:
        calls: list[int] = []

        def fetch(key: int) -> object:
            calls.append(key)
            return object()

        policy = Policy("p", SingleFlight())
        results = self.crowd(policy, fetch, [1] * CALLERS)
        assert len(set(map(id, results))) == 1
        assert calls == [1]
        assert not policy.layer(SingleFlightLayer).flights
        self.crowd(policy, fetch, [1, 2, 1, 2])
        assert sorted(calls) == [1, 1, 2]

    def test_an_error_is_shared(self) -> None:
        calls: list[int] = []

        def fetch(key: int) -> None:
            calls.append(key)
            raise ConnectionError("down")

        results = self.crowd(Policy("p", SingleFlight()), fetch, [1] * CALLERS)
        assert len(set(map(id, results))) == 1
        assert isinstance(results[0], ConnectionError)
        assert calls == [1]

    def test_an_error_is_each_ones_own_without_sharing(self) -> None:
        calls: list[int] = []

        def fetch(key: int) -> str:
            calls.append(key)
            if len(calls) < 3:
                raise ConnectionError("down")
            return "up"

        results = self.crowd(Policy("p", SingleFlight(share_errors=False)), fetch, [1] * 6)
        assert [type(result) for result in results if result != "up"] == [ConnectionError] * 2
        assert len(calls) == 3

    def test_a_cache_that_runs_out_is_filled_once(self) -> None:
        calls: list[int] = []

        def fetch(key: int) -> int:
            calls.append(key)
            return key

        policy = Policy("p", StaleCache(60, fresh_s=30), SingleFlight())
        assert self.crowd(policy, fetch, [1] * CALLERS) == [1] * CALLERS
        assert calls == [1]

    def test_a_deadline_inside_is_shared_too(self) -> None:
        calls: list[int] = []

        def fetch(key: int) -> None:
            calls.append(key)
            raise DeadlineExceededError("inner", 1)

        results = self.crowd(Policy("p", SingleFlight()), fetch, [1] * 5)
        assert {type(result) for result in results} == {DeadlineExceededError}
        assert calls == [1]


class TestFunctions(Conformance):
    def crowd(self, policy: Policy, fetch: Callable[[int], Any], keys: list[int]) -> list[Any]:
        def slow(key: int) -> Any:
            time.sleep(0.05)
            return fetch(key)

        one, results, gate = policy(slow), list[Any](), threading.Barrier(len(keys))

        def caller(key: int) -> None:
            gate.wait(5)
            try:
                results.append(one(key))
            except BaseException as error:  # noqa: BLE001 - judged by the test
                results.append(error)

        threads = [threading.Thread(target=caller, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(results) == len(keys)
        return results

    @pytest.mark.parametrize("interruption", [KeyboardInterrupt, SystemExit])
    def test_an_interrupted_leader_passes_the_lead_on(self, interruption: type[BaseException]) -> None:
        calls: list[int] = []

        def fetch(key: int) -> str:
            calls.append(key)
            if len(calls) == 1:
                raise interruption
            return "from the second"

        results = self.crowd(Policy("p", SingleFlight()), fetch, [1] * CALLERS)
        assert [type(result) for result in results if result != "from the second"] == [interruption]
        assert len(calls) == 2

    def test_a_waiter_is_free_at_its_own_deadline(self) -> None:
        began, release = threading.Event(), threading.Event()

        def fetch() -> str:
            began.set()
            release.wait(5)
            return "slow"

        one = Policy("p", SingleFlight())(fetch)
        leader = threading.Thread(target=one)
        leader.start()
        began.wait(5)
        start = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            Policy("outer", Deadline(0.1, interrupt=False))(one)()
        assert time.monotonic() - start < 0.6
        release.set()
        leader.join(5)

    def test_a_leader_out_of_its_own_time_passes_the_lead_on(self) -> None:
        calls: list[int] = []
        began = threading.Event()

        def fetch() -> str:
            calls.append(1)
            if len(calls) == 1:
                began.set()
                time.sleep(0.5)
            return "second"

        one = Policy("p", SingleFlight(), Timeout(5))(fetch)

        def hurry() -> None:
            with pytest.raises(DeadlineExceededError):
                Policy("outer", Deadline(0.1, interrupt=False))(one)()
            hurried_out.set()

        hurried_out, hurried = threading.Event(), threading.Thread(target=hurry)
        hurried.start()
        began.wait(5)
        assert one() == "second"
        hurried.join(5)
        assert hurried_out.is_set()
        assert len(calls) == 2

    def test_a_call_that_needs_itself_does_not_wait_for_itself(self) -> None:
        def twice(depth: int = 0) -> str:
            found.append(depth)
            return "inner" if len(found) > 1 else one()

        found: list[int] = []
        one = Policy("p", SingleFlight(), Timeout(2))(twice)
        assert one() == "inner"


class TestCoroutines(Conformance):
    def crowd(self, policy: Policy, fetch: Callable[[int], Any], keys: list[int]) -> list[Any]:
        async def slow(key: int) -> Any:
            await asyncio.sleep(0.05)
            return fetch(key)

        async def main() -> list[Any]:
            one = policy(slow)
            return await asyncio.gather(*(one(key) for key in keys), return_exceptions=True)

        return asyncio.run(main())

    def test_a_cancelled_leader_passes_the_lead_on(self) -> None:
        calls, heard = list[int](), list[Event]()

        async def fetch() -> int:
            calls.append(1)
            await asyncio.sleep(0.05)
            return len(calls)

        async def main() -> None:
            policy = Policy("p", SingleFlight())
            one = policy(fetch)
            leader = asyncio.ensure_future(one())
            waiters = [asyncio.ensure_future(one()) for _ in range(CALLERS)]
            await asyncio.sleep(0.01)
            leader.cancel()
            assert await asyncio.gather(*waiters) == [2] * CALLERS
            assert leader.cancelled()
            assert not policy.layer(SingleFlightLayer).flights

        with listening(heard.append):
            asyncio.run(main())
        assert len(calls) == 2
        assert [event.name for event in heard] == ["policy.single_flight_passed_on"]

    def test_a_cancelled_waiter_leaves_alone(self) -> None:
        async def main() -> None:
            calls: list[int] = []

            async def fetch() -> int:
                calls.append(1)
                await asyncio.sleep(0.05)
                return 1

            one = Policy("p", SingleFlight())(fetch)
            leader, waiter, other = (asyncio.ensure_future(one()) for _ in range(3))
            await asyncio.sleep(0.01)
            waiter.cancel()
            assert await leader == await other == 1
            assert waiter.cancelled()
            assert calls == [1]

        asyncio.run(main())

    def test_two_loops_share_a_call(self) -> None:
        calls, results = list[int](), list[int]()

        async def fetch() -> int:
            calls.append(1)
            await asyncio.sleep(0.2)
            return len(calls)

        one, gate = Policy("p", SingleFlight())(fetch), threading.Barrier(3)

        def loop() -> None:
            async def main() -> None:
                gate.wait(5)
                results.append(await one())

            asyncio.run(main())

        threads = [threading.Thread(target=loop) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert calls == [1]
        assert results == [1, 1, 1]

    def test_a_waiter_is_free_at_its_own_deadline(self) -> None:
        async def main() -> None:
            one = Policy("p", SingleFlight())(asyncio.sleep)
            leader = asyncio.ensure_future(one(0.5))
            await asyncio.sleep(0)
            for interrupt in (True, False):
                start = time.monotonic()
                with pytest.raises(DeadlineExceededError):
                    await Policy("outer", Deadline(0.1, interrupt=interrupt))(one)(0.5)
                assert time.monotonic() - start < 0.4
            await leader

        asyncio.run(main())

    def test_a_child_task_that_needs_the_same_key_does_not_deadlock(self) -> None:
        async def main() -> None:
            found: list[int] = []

            async def twice() -> str:
                found.append(1)
                return "inner" if len(found) > 1 else await asyncio.create_task(one())

            one = Policy("p", SingleFlight())(twice)
            assert await asyncio.wait_for(one(), 3) == "inner"

        asyncio.run(main())
