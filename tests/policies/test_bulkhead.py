import asyncio
import functools
import gc
import itertools
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from premortem import events
from premortem.errors import ConfigurationError
from premortem.policies import Policy, ambient
from premortem.policies.bulkhead import Bulkhead, BulkheadLayer
from premortem.policies.permits import Permits, PermitsSnapshot
from premortem.policies.rejections import BulkheadFullError
from premortem.policies.timing import TIME

Caller = Callable[..., Callable[[], Any]]

PATIENCE_S = 30


class Passing:
    """A time that passes only when somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)


@pytest.fixture
def passing() -> Iterator[Passing]:
    kept = TIME.monotonic, TIME.sleep, TIME.sleep_async
    passing = Passing()
    TIME.monotonic, TIME.sleep, TIME.sleep_async = lambda: passing.now, passing.sleep, passing.sleep_async
    yield passing
    TIME.monotonic, TIME.sleep, TIME.sleep_async = kept


class Inside:
    """Counts who is inside."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now = self.most = self.served = 0

    def __enter__(self) -> None:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.now -= 1
            self.served += 1


def together(*jobs: Callable[[], None]) -> None:
    """Run every job in a thread of its own; the first error comes out, and none hangs."""
    errors: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads), "somebody still waits: a wake-up was lost"
    if errors:
        raise errors[0]


def in_loop(job: Callable[[], Any]) -> Callable[[], None]:
    return lambda: asyncio.run(job())


def until(true: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def taken(limit: int = 1, queue_limit: int = 10) -> Permits:
    permits = Permits(limit, queue_limit)
    for _ in range(limit):
        assert permits.try_acquire()
    return permits


# One limit for everybody


def test_two_permits_for_four_threads_and_two_loops_are_two() -> None:
    inside, policy = Inside(), Policy("p", Bulkhead(2, wait_s=PATIENCE_S, queue_limit=1000))

    @policy
    def work() -> None:
        with inside:
            time.sleep(0.0005)

    @policy
    async def work_async() -> None:
        with inside:
            await asyncio.sleep(0.0005)

    def thread() -> None:
        for _ in range(25):
            work()

    async def loop() -> None:
        await asyncio.gather(*(work_async() for _ in range(50)))

    together(*[thread] * 4, *[in_loop(loop)] * 2)
    assert (inside.most, inside.now, inside.served) == (2, 0, 200)
    assert policy.layer(BulkheadLayer).snapshot() == PermitsSnapshot(limit=2, in_use=0, waiting=0)


def test_no_wake_up_is_lost_in_twenty_thousand_acquisitions() -> None:
    permits, inside = Permits(2, 1000), Inside()
    queued = itertools.count()

    def thread() -> None:
        for number in range(2500):
            if not permits.try_acquire():
                next(queued)
                assert permits.acquire(PATIENCE_S)
            with inside:
                if number % 50 == 0:
                    time.sleep(0.0001)  # another thread's turn
            permits.release()

    async def task() -> None:
        for number in range(250):
            if not permits.try_acquire():
                next(queued)
                assert await permits.acquire_async(PATIENCE_S)
            with inside:
                if number % 3 == 0:
                    await asyncio.sleep(0)
            permits.release()

    async def loop() -> None:
        await asyncio.gather(*(task() for _ in range(20)))

    together(*[thread] * 4, *[in_loop(loop)] * 2)
    assert (inside.most, inside.served) == (2, 20_000)
    assert permits.snapshot() == PermitsSnapshot(2, 0, 0)
    assert next(queued) > 500, "so few had to wait that this shows nothing"


def test_a_permit_that_comes_back_while_somebody_queues_is_not_overlooked() -> None:
    permits = taken(1)
    queue = permits.waiters

    class Late(type(queue)):  # type: ignore[misc] # a permit comes back right before the waiter is registered
        def append(self, waiter: Any) -> None:
            permits.give(None)
            super().append(waiter)

    permits.waiters = Late()
    assert permits.acquire(0.5)
    assert permits.snapshot() == PermitsSnapshot(1, 1, 0)


def test_threads_are_served_in_order() -> None:
    permits, order = taken(1), list[int]()

    def queued(number: int) -> bool:
        return len(permits.waiters) == number

    def wait(number: int) -> None:
        assert permits.acquire(PATIENCE_S)
        order.append(number)
        permits.release()

    threads = [threading.Thread(target=wait, args=(number,), daemon=True) for number in range(5)]
    for number, thread in enumerate(threads):
        thread.start()
        until(functools.partial(queued, number + 1))
    permits.release()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == [0, 1, 2, 3, 4]


def test_tasks_are_served_in_order_and_nobody_outruns_them() -> None:
    async def story() -> None:
        permits, order = taken(1), list[int]()

        async def wait(number: int) -> None:
            assert await permits.acquire_async(PATIENCE_S)
            order.append(number)
            permits.release()

        tasks = [asyncio.create_task(wait(number)) for number in range(5)]
        await asyncio.sleep(0)
        permits.release()
        assert not permits.try_acquire()  # it went from hand to hand
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2, 3, 4]

    asyncio.run(story())


# Limits of waiting


def test_without_a_wait_nobody_waits(passing: Passing) -> None:
    permits = taken(2)
    assert not permits.try_acquire()
    assert not permits.acquire(0)
    assert not asyncio.run(permits.acquire_async(0))
    assert passing.waits == []


def test_the_wait_limit_is_exact(passing: Passing) -> None:
    permits = taken(1)
    assert not permits.acquire(0.25)
    assert not asyncio.run(permits.acquire_async(0.5))
    assert passing.waits == [0.25, 0.5]
    assert permits.snapshot() == PermitsSnapshot(1, 1, 0)


def test_the_wait_limit_holds_in_real_time() -> None:
    permits = taken(1)
    begin = time.monotonic()
    assert not permits.acquire(0.1)
    between = time.monotonic()
    assert not asyncio.run(permits.acquire_async(0.1))
    assert between - begin >= 0.1
    assert time.monotonic() - between >= 0.09
    assert time.monotonic() - begin < 5
    permits.release()
    assert permits.try_acquire()


def test_the_queue_limit_is_exact() -> None:
    async def story() -> None:
        permits = taken(1, queue_limit=3)
        waiting = [asyncio.create_task(permits.acquire_async(PATIENCE_S)) for _ in range(3)]
        await asyncio.sleep(0)
        assert permits.snapshot().waiting == 3
        assert not await permits.acquire_async(PATIENCE_S)
        assert not await asyncio.to_thread(permits.acquire, PATIENCE_S)
        waiting[1].cancel()
        await asyncio.gather(waiting[1], return_exceptions=True)
        fourth = asyncio.create_task(permits.acquire_async(PATIENCE_S))
        await asyncio.sleep(0)
        assert permits.snapshot().waiting == 3  # the place that became free is taken
        for _ in range(3):
            permits.release()
        assert all(await asyncio.gather(waiting[0], waiting[2], fourth))

    asyncio.run(story())


def test_a_deadline_shortens_the_wait(passing: Passing) -> None:
    layer = Bulkhead(1, wait_s=10).layer("p")
    layer.enter()
    token = ambient.set_until(passing.now + 0.5)
    try:
        with pytest.raises(BulkheadFullError):
            layer.enter()
    finally:
        ambient.reset_until(token)
    assert passing.waits == [0.5]


# Cancellation


def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async def story() -> None:
        permits = taken(1)
        waiting = asyncio.create_task(permits.acquire_async(PATIENCE_S))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert permits.snapshot() == PermitsSnapshot(1, 1, 0)
        permits.release()
        assert permits.try_acquire()

    asyncio.run(story())


def test_a_cancelled_waiter_passes_on_the_permit_that_it_was_just_given() -> None:
    async def story() -> None:
        permits = taken(1)
        first = asyncio.create_task(permits.acquire_async(PATIENCE_S))
        second = asyncio.create_task(permits.acquire_async(PATIENCE_S))
        await asyncio.sleep(0)
        permits.release()  # goes to the first,
        first.cancel()  # which does not live to see it
        assert await asyncio.wait_for(second, PATIENCE_S)
        assert first.cancelled()
        assert permits.snapshot() == PermitsSnapshot(1, 1, 0)

    asyncio.run(story())


def test_a_waiter_of_a_closed_loop_is_passed_over() -> None:
    permits = taken(1)
    loop = asyncio.new_event_loop()

    async def begin() -> asyncio.Task[bool]:
        task = asyncio.create_task(permits.acquire_async(PATIENCE_S))
        await asyncio.sleep(0)
        return task

    task = loop.run_until_complete(begin())
    assert permits.snapshot().waiting == 1
    timers = asyncio.all_tasks(loop) - {task}
    loop.close()
    for pending in (task, *timers):
        pending._log_destroy_pending = False  # type: ignore[attr-defined] # it is meant
    permits.release()
    assert permits.snapshot() == PermitsSnapshot(1, 0, 0)
    del task, timers, pending
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.unraisablehook", lambda _: None)  # closing it now calls a loop that is gone
        gc.collect()
    assert permits.snapshot() == PermitsSnapshot(1, 0, 0)


def test_an_interrupted_thread_leaves_the_queue(passing: Passing) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    permits = taken(1)
    TIME.sleep = interrupt
    with pytest.raises(KeyboardInterrupt):
        permits.acquire(1)
    assert permits.snapshot() == PermitsSnapshot(1, 1, 0)
    assert passing.waits == []


# Conformance: the same for def and async def


@pytest.mark.parametrize("kind", ["sync", "async"])
class TestCalls:
    def test_a_full_bulkhead_says_so(self, caller: Caller) -> None:
        seen: list[events.Event] = []
        policy = Policy("orders", Bulkhead(1))
        policy.layer(BulkheadLayer).enter()
        with events.listening(seen.append), pytest.raises(BulkheadFullError, match="'orders': all 1 permits are taken"):
            caller(policy, lambda: None)()
        assert [(event.name, event.fields) for event in seen] == [
            ("policy.bulkhead_full", (("policy", "orders"), ("limit", 1), ("waiting", 0), ("wait_s", 0.0)))
        ]

    @pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt, SystemExit, asyncio.CancelledError])
    def test_every_end_gives_the_permit_back(self, caller: Caller, error: type[BaseException] | None) -> None:
        policy = Policy("p", Bulkhead(1))

        def work() -> str:
            assert policy.layer(BulkheadLayer).snapshot().in_use == 1
            if error is not None:
                raise error
            return "done"

        call = caller(policy, work)
        for _ in range(3):
            if error is None:
                assert call() == "done"
            else:
                with pytest.raises(error):
                    call()
        assert policy.layer(BulkheadLayer).snapshot().in_use == 0

    def test_happy_calls_say_nothing(self, caller: Caller) -> None:
        seen: list[events.Event] = []
        with events.listening(seen.append):
            caller(Policy("p", Bulkhead(1)), lambda: None)()
        assert seen == []

    def test_a_waiting_call_gets_in(self, caller: Caller) -> None:
        policy = Policy("p", Bulkhead(1, wait_s=PATIENCE_S))
        layer = policy.layer(BulkheadLayer)
        layer.enter()
        done: list[str] = []
        thread = threading.Thread(target=lambda: done.append(caller(policy, lambda: "in")()), daemon=True)
        thread.start()
        until(lambda: layer.snapshot().waiting)
        layer.leave(None, None)
        thread.join(PATIENCE_S)
        assert done == ["in"]


def test_a_generator_that_is_dropped_gives_the_permit_back() -> None:
    policy = Policy("p", Bulkhead(1))

    @policy
    def numbers() -> Iterator[int]:
        yield from range(10)

    stream = numbers()
    next(stream)
    assert policy.layer(BulkheadLayer).snapshot().in_use == 1
    stream.close()  # type: ignore[attr-defined]
    assert policy.layer(BulkheadLayer).snapshot().in_use == 0


def test_the_parts_for_an_inlined_happy_path() -> None:
    layer = Bulkhead(1, wait_s=PATIENCE_S).layer("p")
    layer.take()
    with pytest.raises(IndexError):
        layer.take()
    thread = threading.Thread(target=layer.full, daemon=True)
    thread.start()
    until(lambda: layer.waiters)
    layer.give(None)
    if layer.waiters:
        layer.wake()
    thread.join(PATIENCE_S)
    assert not layer.waiters
    layer.give(None)
    asyncio.run(layer.full_async())
    assert layer.snapshot().in_use == 1


# Resizing


def test_fewer_permits_hold_as_soon_as_calls_end() -> None:
    permits = taken(4)
    permits.resize(2)
    assert permits.snapshot() == PermitsSnapshot(2, 4, 0)
    permits.release()
    permits.release()
    assert not permits.try_acquire()
    permits.release()
    assert permits.try_acquire()
    assert permits.snapshot() == PermitsSnapshot(2, 2, 0)


def test_more_permits_wake_those_who_wait() -> None:
    async def story() -> None:
        permits = taken(1)
        waiting = [asyncio.create_task(permits.acquire_async(PATIENCE_S)) for _ in range(2)]
        await asyncio.sleep(0)
        permits.resize(3)
        assert await asyncio.gather(*waiting) == [True, True]

    asyncio.run(story())


class PermitsMachine(RuleBasedStateMachine):
    """Tasks of one loop that take, wait, give up and give back, against two numbers and a list."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.permits = Permits(2, queue_limit=3)
        self.limit, self.held = 2, 0
        self.queue: list[asyncio.Task[bool]] = []

    def step(self) -> None:
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def serve(self) -> None:
        """The model: whoever is first gets what is free."""
        self.step()
        while self.queue and self.held < self.limit:
            self.held += 1
            first = self.queue.pop(0)
            assert first.done()
            assert first.result()
        assert not any(task.done() for task in self.queue)

    @rule()
    def try_acquire(self) -> None:
        free = self.held < self.limit
        assert self.permits.try_acquire() == free
        self.held += free

    @rule()
    def acquire(self) -> None:
        task = self.loop.create_task(self.permits.acquire_async(1000))
        self.step()
        if self.held < self.limit:
            assert task.result()
            self.held += 1
        elif len(self.queue) == 3:
            assert not task.result()
        else:
            assert not task.done()
            self.queue.append(task)

    @precondition(lambda self: self.held)
    @rule()
    def release(self) -> None:
        self.permits.release()
        self.held -= 1
        self.serve()

    @precondition(lambda self: self.queue)
    @rule(data=st.data(), release=st.booleans())
    def cancel(self, data: st.DataObject, *, release: bool) -> None:
        release = release and self.held > 0
        if release:
            self.permits.release()  # may give the permit to the very one that is cancelled
            self.held -= 1
        task = self.queue.pop(data.draw(st.integers(0, len(self.queue) - 1)))
        task.cancel()
        self.serve()
        assert task.cancelled()

    @rule(limit=st.integers(1, 5))
    def resize(self, limit: int) -> None:
        self.permits.resize(limit)
        self.limit = limit
        self.serve()

    @invariant()
    def agrees(self) -> None:
        assert self.permits.snapshot() == PermitsSnapshot(self.limit, self.held, len(self.queue))

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.step()
        self.step()
        self.loop.close()


PermitsMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestPermitsAgainstTheModel = PermitsMachine.TestCase


# Specs


@pytest.mark.parametrize("permits", [0, -1, 10_000, 2.0, "2", True, None, float("nan")])
def test_a_nonsense_number_of_permits_is_refused(permits: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Bulkhead\.permits = .*whole number from 1 to 5000 calls"):
        Bulkhead(permits)


@pytest.mark.parametrize(
    "options", [{"wait_s": -1}, {"wait_s": float("nan")}, {"wait_s": "1"}, {"queue_limit": -1}, {"queue_limit": True}]
)
def test_nonsense_limits_of_waiting_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="has to be"):
        Bulkhead(2, **options)


def test_waiting_without_a_place_to_wait_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"queue_limit = 0 with wait_s = 1.*leave one of the two out"):
        Bulkhead(2, wait_s=1, queue_limit=0)


def test_functions_of_one_policy_share_the_permits_and_policies_do_not() -> None:
    spec = Bulkhead(1)
    one, other = Policy("one", spec), Policy("other", spec)
    inner = functools.partial(one.call, lambda: "in")
    with pytest.raises(BulkheadFullError):
        one.call(inner)
    assert other.call(inner) == "in"


def test_asyncio_is_not_imported_by_synchronous_programs() -> None:
    code = (
        "import sys; from premortem.policies import adaptive, bulkhead, rate_limiter, shedding\n"
        "permits = bulkhead.Bulkhead(1).layer('p').permits; permits.acquire(1); permits.acquire(0.01)\n"
        "assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
