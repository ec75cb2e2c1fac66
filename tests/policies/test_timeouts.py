"""Timeout: the caller is free after the time, and whose cancellation it was is never mistaken."""

import asyncio
import contextvars
import gc
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies import timers
from premortem.policies.policy import Policy
from premortem.policies.rejections import AttemptTimeoutError, DeadlineExceededError, RejectedError
from premortem.policies.retry import Retry
from premortem.policies.timeouts import Deadline, Timeout
from premortem.policies.timers import AsyncLimit, SharedTimer
from premortem.policies.timing import TIME
from premortem.policies.waits import Fixed
from premortem.policies.workers import Job, Workers


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Iterator[Clock]:
    before, moved = TIME.monotonic, Clock()
    TIME.monotonic = moved.monotonic
    yield moved
    TIME.monotonic = before


def limited(
    limit_s: float, inner: Callable[..., Awaitable[object]], name: str = "test"
) -> Callable[..., Awaitable[object]]:
    return Timeout(limit_s).layer(name).wrap_async(inner)


def fused(
    limit_s: float, inner: Callable[..., Awaitable[object]], name: str = "test"
) -> Callable[..., Awaitable[object]]:
    return Policy(name, Timeout(limit_s))(inner)


both = pytest.mark.parametrize("limit", [limited, fused])


@pytest.mark.parametrize("value", [0, 0.00001, 999_999, -1, "0.5", True, float("nan"), None])
def test_nonsense_is_refused_with_value_and_rule(value: object) -> None:
    for kind in (Timeout, Deadline):
        with pytest.raises(ConfigurationError, match=r"limit_s = .*has to be a number"):
            kind(value)  # type: ignore[arg-type]


class Conformance:
    """What holds for functions and coroutines alike."""

    def run(self, policy: Policy, hang_s: float, result: str = "done") -> str:
        raise NotImplementedError

    def test_an_answer_in_time_comes_through(self) -> None:
        assert self.run(Policy("p", Timeout(5)), 0) == "done"

    def test_a_hanging_call_is_left_after_the_time(self) -> None:
        heard: list[Event] = []
        began = time.monotonic()
        with listening(heard.append), pytest.raises(AttemptTimeoutError, match=r"'p': the timeout of 0\.1 s") as caught:
            self.run(Policy("p", Timeout(0.1)), 1.5)
        assert 0.08 < time.monotonic() - began < 0.6
        assert isinstance(caught.value, TimeoutError)
        assert [(event.name, event.get("limit_s")) for event in heard] == [("policy.timeout", 0.1)]

    def test_a_retry_tries_again_after_it(self) -> None:
        policy = Policy("p", Retry(3, on=AttemptTimeoutError, wait=Fixed(0)), Timeout(0.05))
        with pytest.raises(AttemptTimeoutError) as caught:
            self.run(policy, 1.5)
        assert "3 attempt(s)" in caught.value.__notes__[0]

    def test_the_shorter_of_it_and_the_ambient_deadline_holds(self) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            self.run(Policy("p", Deadline(0.1, interrupt=False), Timeout(5)), 1.5)
        assert 0.08 < time.monotonic() - began < 0.6

    def test_a_nested_timeout_of_the_same_length(self) -> None:
        began = time.monotonic()
        with pytest.raises(AttemptTimeoutError, match="'p'"):
            self.run(Policy("p", Timeout(0.1), Timeout(0.1)), 1.5)
        assert time.monotonic() - began < 0.6


class TestCoroutines(Conformance):
    def run(self, policy: Policy, hang_s: float, result: str = "done") -> str:
        async def job() -> str:
            await asyncio.sleep(hang_s)
            return result

        return asyncio.run(policy(job)())


class TestFunctions(Conformance):
    def run(self, policy: Policy, hang_s: float, result: str = "done") -> str:
        def job() -> str:
            time.sleep(hang_s)
            return result

        return policy(job)()


def test_the_shared_timer_of_a_thousand_calls() -> None:
    made: list[float] = []

    async def main() -> list[object]:
        loop = asyncio.get_running_loop()
        call_later = loop.call_later

        def counted(delay: float, *args: object, **kwargs: object) -> asyncio.TimerHandle:
            made.append(delay)
            return call_later(delay, *args, **kwargs)  # type: ignore[arg-type]

        loop.call_later = counted  # type: ignore[method-assign]
        hang = asyncio.Event().wait
        one = limited(0.2, hang)
        results = await asyncio.gather(*(one() for _ in range(1000)), return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1
        return list(results)

    results = asyncio.run(main())
    assert all(isinstance(result, AttemptTimeoutError) for result in results)
    assert len(made) <= 3, "one for the oldest, and again for what began later"


def test_two_layers_with_one_limit_share_the_timer_of_their_loop() -> None:
    async def main() -> None:
        seen: set[int] = set()

        async def look() -> None:
            for timer in timers._registry[asyncio.get_running_loop()].values():
                seen.add(id(timer))
                assert len(timer.calls) == 1

        await limited(5, look)()
        await limited(5, look)()
        assert len(seen) == 1

    asyncio.run(main())


def test_calls_leave_nothing_in_the_timer() -> None:
    async def main() -> None:
        async def fails() -> None:
            raise ValueError("theirs")

        async def works() -> None:
            await asyncio.sleep(0)

        for inner in (fails, works, works):
            await asyncio.gather(limited(5, inner)(), return_exceptions=True)
        task = asyncio.ensure_future(limited(5, asyncio.Event().wait)())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert [len(timer.calls) for timer in timers._registry[asyncio.get_running_loop()].values()] == [0]

    asyncio.run(main())


def test_a_closed_loop_is_not_kept() -> None:
    async def main() -> weakref.ref[asyncio.AbstractEventLoop]:
        await limited(50, lambda: asyncio.sleep(0))()
        return weakref.ref(asyncio.get_running_loop())

    reference = asyncio.run(main())
    gc.collect()
    assert reference() is None


def test_one_function_in_two_loops_at_once() -> None:
    one = limited(0.1, asyncio.sleep)
    ended: list[object] = []

    async def main() -> None:
        for _ in range(50):
            await one(0)
        ended.append((await asyncio.gather(one(3), return_exceptions=True))[0])

    threads = [threading.Thread(target=lambda: asyncio.run(main())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert [type(error) for error in ended] == [AttemptTimeoutError] * 2


def test_outer_cancellation_stays_cancellation() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(limited(5, asyncio.sleep)(3))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


@both
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_outer_cancellation_wins_when_both_come_at_once(order: str, clock: Clock, limit: Any) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(limit(5, asyncio.sleep)(3))
        await asyncio.sleep(0)
        clock.now += 6
        if order == "ours first":
            timers.expire_due()
            task.cancel()
        else:
            task.cancel()
            timers.expire_due()
        await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1, "ours is taken back, theirs stays"

    asyncio.run(main())


def test_outer_cancellation_during_the_clean_up_after_ours(clock: Clock) -> None:
    async def main() -> None:
        async def cleans_up() -> None:
            try:
                await asyncio.sleep(3)
            finally:
                await asyncio.sleep(0.02)

        task = asyncio.ensure_future(limited(5, cleans_up)())
        await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())


@both
@pytest.mark.parametrize("warm", [False, True])
def test_a_task_that_lives_on_after_a_cancellation_has_timeouts_too(clock: Clock, limit: Any, *, warm: bool) -> None:
    async def main() -> None:
        one = limit(5, asyncio.sleep)
        if warm:
            await one(0)

        async def stubborn() -> str:
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:  # and never uncancel()
                with pytest.raises(AttemptTimeoutError):
                    await one(3)
            return "cleaned up"

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        assert await task == "cleaned up"

    asyncio.run(main())


@both
def test_a_value_that_comes_late_is_returned_and_the_task_is_not_left_cancelled(clock: Clock, limit: Any) -> None:
    heard: list[Event] = []

    async def main() -> None:
        async def swallows() -> str:
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                return "late"
            return "in time"

        task = asyncio.ensure_future(limit(5, swallows)())
        await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        assert await task == "late"
        assert task.cancelling() == 0

    with listening(heard.append):
        asyncio.run(main())
    assert [event.name for event in heard] == ["policy.timeout_ignored"]


def test_an_error_of_the_clean_up_comes_out_with_a_note(clock: Clock) -> None:
    async def main() -> None:
        async def breaks() -> None:
            try:
                await asyncio.sleep(3)
            except asyncio.CancelledError:
                raise ConnectionError("while closing") from None

        task = asyncio.ensure_future(limited(5, breaks)())
        await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        with pytest.raises(ConnectionError, match="while closing") as caught:
            await task
        assert "time limit had cancelled" in caught.value.__notes__[0]
        assert task.cancelling() == 0

    asyncio.run(main())


def test_a_timeout_of_the_function_itself_is_theirs() -> None:
    async def main() -> None:
        async def theirs() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(3)

        with pytest.raises(TimeoutError) as caught:
            await limited(5, theirs)()
        assert type(caught.value) is TimeoutError

        async def around() -> None:
            async with asyncio.timeout(0.01):
                await limited(5, asyncio.sleep)(3)

        with pytest.raises(TimeoutError) as caught:
            await around()
        assert type(caught.value) is TimeoutError

    asyncio.run(main())


def test_a_cancellation_that_the_function_raises_is_theirs() -> None:
    async def main() -> None:
        gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        gone.cancel()

        async def waits() -> None:
            await gone

        with pytest.raises(asyncio.CancelledError):
            await limited(5, waits)()

    asyncio.run(main())


def test_timeouts_in_a_task_group() -> None:
    async def main() -> None:
        one = limited(0.05, asyncio.sleep)
        with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the group is what is tested
            async with asyncio.TaskGroup() as group:
                group.create_task(one(3))  # type: ignore[arg-type]
                other = group.create_task(asyncio.sleep(3))
        assert [type(error) for error in caught.value.exceptions] == [AttemptTimeoutError]
        assert other.cancelled()

        async def grouped() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(3))

        current = asyncio.current_task()
        assert current is not None
        asked = current.cancelling()  # before Python 3.13 the group that failed has left one
        with pytest.raises(AttemptTimeoutError):
            await limited(0.05, grouped)()
        assert current.cancelling() == asked

    asyncio.run(main())


@both
@pytest.mark.parametrize("warm", [False, True])
def test_of_nested_timeouts_of_one_length_the_outer_one_is_raised_once(clock: Clock, limit: Any, *, warm: bool) -> None:
    async def main() -> None:
        inner = limit(5, asyncio.sleep, "inner")
        outer = limit(5, inner, "outer")
        if warm:
            await outer(0)
        task = asyncio.ensure_future(outer(3))
        await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        with pytest.raises(AttemptTimeoutError) as caught:
            await task
        assert caught.value.policy == "outer"
        assert task.cancelling() == 0

    asyncio.run(main())


@both
@pytest.mark.parametrize("warm", [False, True])
def test_an_inner_call_that_ends_in_time_leaves_the_outer_limit_in_force(
    clock: Clock, limit: Any, *, warm: bool
) -> None:
    async def main() -> None:
        quick = limit(5, asyncio.sleep, "inner")

        async def hangs_afterwards() -> None:
            await quick(0)
            await asyncio.sleep(3)

        outer = limit(5, hangs_afterwards, "outer")
        if warm:
            await quick(0)
        task = asyncio.ensure_future(outer())
        for _ in range(3):
            await asyncio.sleep(0)
        clock.now += 6
        timers.expire_due()
        with pytest.raises(AttemptTimeoutError):
            await asyncio.wait_for(asyncio.shield(task), 1)

    asyncio.run(main())


def test_a_coroutine_outside_a_task_is_told_so() -> None:
    async def main() -> None:
        driven = limited(5, asyncio.sleep)(0).__await__()
        loop = asyncio.get_running_loop()
        told: asyncio.Future[str] = loop.create_future()

        def drive() -> None:
            try:
                next(driven)
            except (RuntimeError, AttributeError) as error:
                told.set_result(str(error))

        loop.call_soon(drive)
        assert "create_task" in await told

    asyncio.run(main())


class Fake:
    """Instead of a task."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class TimerModel(RuleBasedStateMachine):
    """The timer beside a dict of who is live until when."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.timer, self.live = 0.0, SharedTimer(5), dict[Fake, float]()

    @rule()
    def begin(self) -> None:
        call = Fake()
        self.timer.calls[call] = self.live[call] = self.now + 5

    @rule(which=st.integers(0, 100))
    def end(self, which: int) -> None:
        if self.live:
            gone = list(self.live)[which % len(self.live)]
            del self.live[gone], self.timer.calls[gone]

    @rule(seconds=st.floats(0, 4))
    def tick(self, seconds: float) -> None:
        self.now += seconds
        due = {call for call, when in self.live.items() if when <= self.now}
        following = self.timer.expire(self.now)
        assert due == {call for call in self.live if call.cancelled}
        for call in due:
            del self.live[call]
        assert list(self.timer.calls) == list(self.live)
        assert following == (min(self.live.values()) if self.live else None)


TestTimerModel = TimerModel.TestCase
TestTimerModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_asyncio_is_not_imported_for_a_function() -> None:
    program = (
        "import sys\n"
        "from premortem.policies import timeouts, hedging, fallback, stale, single_flight, policy\n"
        "p = policy.Policy('p', fallback.Fallback(on=ValueError, value=1, stale=stale.StaleCache()),\n"
        "    single_flight.SingleFlight(), hedging.Hedge(1, idempotent=True),\n"
        "    timeouts.Deadline(2), timeouts.Timeout(1))\n"
        "assert p(lambda: 5)() == 5\n"
        "assert 'asyncio' not in sys.modules\n"
        "async def f(): pass\n"
        "p(f)\n"
        "assert 'asyncio' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)


def test_a_worker_runs_in_the_callers_context_and_is_used_again() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of the caller")
    seen: list[tuple[str, int, bool]] = []

    def look() -> None:
        seen.append((variable.get(), threading.get_ident(), threading.current_thread().daemon))

    one = Timeout(5).layer("p").wrap(look)
    one()
    one()
    assert [what for what, _, _ in seen] == ["of the caller"] * 2
    assert len({thread for _, thread, _ in seen}) == 1
    assert seen[0][1] != threading.get_ident()
    assert seen[0][2]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_the_function_raises_comes_out_of_the_worker(error: type[BaseException]) -> None:
    def fails() -> None:
        raise error("theirs")

    with pytest.raises(error, match="theirs"):
        Timeout(5).layer("p").wrap(fails)()


def test_abandoned_calls_go_on_and_are_bounded() -> None:
    workers = Workers(abandoned_at_most=2)
    release = threading.Event()
    ended: list[int] = []

    def hang(number: int) -> None:
        release.wait(5)
        ended.append(number)

    for number in range(2):
        assert workers.call("p", 0.01, hang, (number,), {}) is None
    assert workers.abandoned == 2
    with pytest.raises(RejectedError, match="2 calls that were left"):
        workers.call("p", 0.01, hang, (2,), {})
    release.set()
    for _ in range(500):
        if workers.abandoned == 0:
            break
        time.sleep(0.01)
    assert workers.abandoned == 0
    assert sorted(ended) == [0, 1]
    assert workers.call("p", 5, hang, (3,), {}) is not None


def test_idle_workers_are_few_and_end() -> None:
    workers = Workers(kept=2, idle_s=0.05)
    gate = threading.Barrier(6)
    over: list[Job] = []
    done = threading.Semaphore(0)

    def tell(job: Job) -> None:
        over.append(job)
        done.release()

    for _ in range(5):
        workers.start("p", Job(tell, gate.wait, (5,), {}))
    gate.wait(5)
    for _ in range(5):
        assert done.acquire(timeout=5)
    assert len(workers.idle) <= 3, "two, and one more by a race that does no harm"
    for _ in range(500):
        if not workers.idle:
            break
        time.sleep(0.01)
    assert not workers.idle
    assert workers.call("p", 5, int, (), {}) is not None


def test_many_threads_through_one_timeout() -> None:
    def echo(value: int) -> int:
        return value

    one, wrong = Timeout(5).layer("p").wrap(echo), list[int]()

    def hammer(number: int) -> None:
        wrong.extend(i for i in range(200) if one(number * 1000 + i) != number * 1000 + i)

    threads = [threading.Thread(target=hammer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong


def test_the_limit_has_what_a_chain_in_one_function_needs() -> None:
    limit = Timeout(0.05).layer("p").limit_async()
    assert isinstance(limit, AsyncLimit)

    async def main() -> None:
        key, calls = limit.enter()
        try:
            await asyncio.sleep(3)
        except BaseException as error:
            limit.failed(calls, key, error)
            raise
        if calls.pop(key, None) is None:
            limit.late(key)

    with pytest.raises(AttemptTimeoutError):
        asyncio.run(main())
