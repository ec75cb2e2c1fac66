"""A policy as a whole: every kind of function, both ways of building the chain, and what must never be counted."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.policies import (
    AttemptTimeoutError,
    Bulkhead,
    BulkheadFullError,
    CircuitBreaker,
    CircuitOpenError,
    Consecutive,
    Deadline,
    DeadlineExceededError,
    Fallback,
    Fixed,
    Policy,
    RateLimiter,
    RejectedError,
    Retry,
    Timeout,
    remaining_s,
)
from premortem.policies.breaker import CircuitBreakerLayer
from premortem.policies.bulkhead import BulkheadLayer

Run = Callable[..., Any]


class Down(Exception):  # noqa: N818 - the word that a test would use
    """What a dependency says when it is down."""


USUAL = (
    Retry(3, on=Down, wait=Fixed(0)),
    CircuitBreaker(trip=Consecutive(5), failures=Down),
    RateLimiter(1_000_000),
    Bulkhead(2),
)


@pytest.fixture(params=["fused", "reference"])
def fused(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "fused")


@pytest.fixture(params=["sync", "async"])
def call(request: pytest.FixtureRequest) -> Run:
    """Decorate and call a plain function, or the same as a coroutine function."""

    def sync(policy: Policy, function: Run, *args: Any, **kwargs: Any) -> Any:
        return policy(function)(*args, **kwargs)

    def asynchronous(policy: Policy, function: Run, *args: Any, **kwargs: Any) -> Any:
        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        started = policy(coroutine)(*args, **kwargs)
        try:
            started.send(None)  # it never waits, so it needs no loop, and nobody catches what is raised
        except StopIteration as done:
            return done.value
        raise AssertionError("it waited")

    return sync if request.param == "sync" else asynchronous


class Dependency:
    """Fails so many times, then answers; counts its calls."""

    def __init__(self, failures: int = 0, error: type[BaseException] = Down) -> None:
        self.failures = failures
        self.error = error
        self.calls = 0

    def __call__(self, answer: object = "answer") -> object:
        self.calls += 1
        if self.calls <= self.failures:
            raise self.error(f"failure {self.calls}")
        return answer


def plain(dependency: Dependency) -> Run:
    def function(answer: object = "answer") -> object:
        return dependency(answer)

    return function


def test_a_call_that_goes_well_goes_through_once(call: Run, fused: bool) -> None:
    dependency = Dependency()
    assert call(Policy("p", *USUAL, fused=fused), plain(dependency), answer=7) == 7
    assert dependency.calls == 1


def test_a_failure_that_passes_is_retried(call: Run, fused: bool) -> None:
    dependency = Dependency(failures=2)
    assert call(Policy("p", *USUAL, fused=fused), plain(dependency)) == "answer"
    assert dependency.calls == 3


def test_the_users_own_exception_comes_out_with_the_story(call: Run, fused: bool) -> None:
    dependency = Dependency(failures=9)
    with pytest.raises(Down, match="failure 3") as raised:
        call(Policy("p", *USUAL, fused=fused), plain(dependency))
    assert "3 attempt(s)" in raised.value.__notes__[0]


def test_the_breaker_inside_the_retry_counts_attempts_and_then_rejects(call: Run, fused: bool) -> None:
    policy = Policy("p", *USUAL, fused=fused)
    dependency = Dependency(failures=99)
    for _ in range(2):
        with pytest.raises((Down, CircuitOpenError)):
            call(policy, plain(dependency))
    assert dependency.calls == 5
    with pytest.raises(CircuitOpenError) as rejected:
        call(policy, plain(dependency))
    assert dependency.calls == 5
    assert rejected.value.policy == "p"
    assert rejected.value.retry_after_s == pytest.approx(60, abs=5)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError, GeneratorExit])
def test_what_is_no_failure_is_neither_counted_nor_retried_and_gives_everything_back(
    call: Run, fused: bool, error: type[BaseException]
) -> None:
    policy = Policy("p", *USUAL, fused=fused)
    dependency = Dependency(failures=20, error=error)
    for _ in range(20):
        with pytest.raises(error):
            call(policy, plain(dependency))
    assert dependency.calls == 20
    assert policy.layer(CircuitBreakerLayer).snapshot().failures == 0
    assert policy.layer(BulkheadLayer).snapshot().in_use == 0


def test_a_full_bulkhead_rejects_at_once(fused: bool) -> None:
    policy = Policy("p", Bulkhead(1), fused=fused)
    inside, leave = threading.Event(), threading.Event()

    @policy
    def work() -> None:
        inside.set()
        leave.wait(5)

    holder = threading.Thread(target=work)
    holder.start()
    inside.wait(5)
    with pytest.raises(BulkheadFullError):
        work()
    leave.set()
    holder.join()
    work()


def test_the_order_is_that_of_the_list_from_the_outside_in(call: Run, fused: bool) -> None:
    fallback = Fallback(on=(Down, RejectedError), value="instead")
    inside = Policy("inside", fallback, Retry(3, on=Down, wait=Fixed(0)), fused=fused)
    dependency = Dependency(failures=9)
    assert call(inside, plain(dependency)) == "instead"
    assert dependency.calls == 3
    outside = Policy("outside", Retry(3, on=Down, wait=Fixed(0)), fallback, fused=fused, lint=False)
    dependency = Dependency(failures=9)
    assert call(outside, plain(dependency)) == "instead"
    assert dependency.calls == 1


def test_everything_decorated_by_one_policy_shares_its_state(fused: bool) -> None:
    policy = Policy("p", CircuitBreaker(trip=Consecutive(2), failures=Down), fused=fused)
    first, second = policy(plain(Dependency(failures=9))), policy(plain(Dependency()))
    for _ in range(2):
        with pytest.raises(Down):
            first()
    with pytest.raises(CircuitOpenError):
        second()


def test_signature_name_and_kind_are_kept(fused: bool) -> None:
    policy = Policy("p", *USUAL, fused=fused)

    def function(a: int, /, b: int = 2, *c: int, d: int, e: int = 5, **f: int) -> tuple[object, ...]:
        """Say it."""
        return a, b, c, d, e, f

    guarded = policy(function)
    assert (guarded.__name__, guarded.__doc__) == ("function", "Say it.")
    assert inspect.signature(guarded) == inspect.signature(function)
    assert guarded(1, d=4) == (1, 2, (), 4, 5, {})
    assert guarded(1, 2, 3, d=4, e=6, g=7) == (1, 2, (3,), 4, 6, {"g": 7})
    with pytest.raises(TypeError):
        guarded(1)  # type: ignore[call-arg]

    async def coroutine(a: int, *, b: int) -> int:
        return a + b

    assert inspect.iscoroutinefunction(policy(coroutine))
    assert asyncio.run(policy(coroutine)(1, b=2)) == 3


def test_methods_static_methods_and_callables_can_be_guarded(fused: bool) -> None:
    policy = Policy("p", *USUAL, fused=fused)

    class Client:
        def __init__(self) -> None:
            self.name = "client"

        @policy
        def get(self, key: str) -> str:
            return f"{self.name}:{key}"

        @staticmethod
        @policy
        def version() -> int:
            return 1

    assert (Client().get("k"), Client.version()) == ("client:k", 1)
    assert policy(functools.partial(pow, 2))(5) == 32
    assert policy.call(pow, 2, 3) == 8


def test_a_generator_holds_its_permit_until_it_is_done_or_closed() -> None:
    policy = Policy("p", Bulkhead(1))

    @policy
    def numbers() -> Iterator[int]:
        yield 1
        yield 2

    stream = numbers()
    assert next(stream) == 1
    with pytest.raises(BulkheadFullError):
        next(numbers())
    stream.close()  # type: ignore[attr-defined]
    assert list(numbers()) == [1, 2]


def test_an_async_generator_holds_its_permit_until_it_is_done_or_closed() -> None:
    policy = Policy("p", Bulkhead(1))

    @policy
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2

    async def main() -> list[int]:
        stream = numbers()
        assert await anext(stream) == 1
        with pytest.raises(BulkheadFullError):
            await anext(numbers())
        await stream.aclose()  # type: ignore[attr-defined]
        return [number async for number in numbers()]

    assert asyncio.run(main()) == [1, 2]


def test_a_generator_that_is_closed_early_is_no_success() -> None:
    policy = Policy("p", CircuitBreaker(trip=Consecutive(1), failures=Down, recovery_s=0.001))

    @policy
    def stream(fail: bool) -> Iterator[int]:
        if fail:
            raise Down
        yield 1

    with pytest.raises(Down):
        list(stream(fail=True))
    threading.Event().wait(0.01)
    probe = stream(fail=False)
    next(probe)
    probe.close()  # type: ignore[attr-defined]
    assert policy.layer(CircuitBreakerLayer).snapshot().state == "half_open"


@pytest.mark.parametrize("spec", [Retry(on=Down), Timeout(1), Deadline(1), Fallback(on=Down, value=1)])
def test_what_cannot_guard_a_generator_or_a_block_says_so(spec: Any) -> None:
    def stream() -> Iterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match=f"{spec.kind} cannot guard a generator"):
        Policy("p", spec)(stream)
    with pytest.raises(ConfigurationError, match=f"{spec.kind} cannot guard a block"), Policy("p", spec).block():
        pass


def test_a_block_is_let_in_and_counted() -> None:
    policy = Policy("p", CircuitBreaker(trip=Consecutive(1), failures=Down), Bulkhead(1))
    with policy.block():
        assert policy.layer(BulkheadLayer).snapshot().in_use == 1
    with pytest.raises(Down), policy.block():
        raise Down
    with pytest.raises(CircuitOpenError), policy.block():
        pass

    async def main() -> None:
        async with policy.block_async():
            pass

    with pytest.raises(CircuitOpenError):
        asyncio.run(main())


def test_a_layer_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="policy 'p' has no CircuitBreakerLayer; it has Bulkhead"):
        Policy("p", Bulkhead(1)).layer(CircuitBreakerLayer)


@pytest.mark.parametrize("name", ["", None, 3])
def test_a_policy_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="has to be a text"):
        Policy(name)


def test_no_policy_is_no_frame(fused: bool) -> None:
    def function() -> int:
        return 1

    assert Policy("p", fused=fused)(function)() == 1


def test_the_source_of_a_fused_function_can_be_read() -> None:
    guarded: Any = Policy("p", *USUAL)(plain(Dependency()))
    assert "def _pm_fused(answer=" in guarded.__premortem_source__


def test_a_parameter_may_be_called_anything(fused: bool) -> None:
    def function(_pm_function: int, self: int, await_: int = 3) -> tuple[int, ...]:
        return _pm_function, self, await_

    assert Policy("p", *USUAL, fused=fused)(function)(1, self=2) == (1, 2, 3)


def test_twenty_calls_at_once_after_the_recovery_time_let_one_through(fused: bool) -> None:
    policy = Policy("p", CircuitBreaker(trip=Consecutive(1), failures=Down, recovery_s=0.05), fused=fused)
    reached = 0

    @policy
    async def ask(fail: bool) -> None:
        nonlocal reached
        reached += 1
        await asyncio.sleep(0.05)
        if fail:
            raise Down

    async def main() -> None:
        with pytest.raises(Down):
            await ask(fail=True)
        await asyncio.sleep(0.06)
        answers = await asyncio.gather(*(ask(fail=False) for _ in range(20)), return_exceptions=True)
        assert [type(answer) for answer in answers if answer is not None] == [CircuitOpenError] * 19

    asyncio.run(main())
    assert reached == 2


def test_a_retry_inside_an_async_timeout_is_one_frame_and_ends_in_time(fused: bool) -> None:
    policy = Policy("p", Retry(2, on=TimeoutError, wait=Fixed(0)), Timeout(0.05), fused=fused)
    calls = 0

    @policy
    async def hang() -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(5)

    async def main() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(TimeoutError):
            await hang()
        return loop.time() - began

    took_s = asyncio.run(main())
    assert calls == 2
    assert 0.09 < took_s < 2


def test_no_lock_is_held_while_the_function_runs(fused: bool) -> None:
    policy = Policy("p", Retry(2, on=Down), CircuitBreaker(), RateLimiter(1_000_000), Bulkhead(8), fused=fused)
    together = threading.Barrier(8, timeout=5)
    guarded = policy(together.wait)
    threads = [threading.Thread(target=guarded) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not together.broken  # all eight were inside at once, or the barrier would have broken


def test_a_block_of_a_coroutine_is_interrupted_when_its_time_is_over() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        policy = Policy("p", Deadline(5), Bulkhead(1), Timeout(0.05))
        began = loop.time()
        with pytest.raises(AttemptTimeoutError):
            async with policy.block_async():
                await asyncio.sleep(5)
        assert loop.time() - began < 2
        assert policy.layer(BulkheadLayer).snapshot().in_use == 0
        async with policy.block_async():
            left_s = remaining_s()
            assert left_s is not None
            assert 4 < left_s <= 5
        assert remaining_s() is None

    asyncio.run(main())


def test_a_block_under_a_deadline_ends_with_it_and_a_cancellation_stays_one() -> None:
    async def main() -> None:
        with pytest.raises(DeadlineExceededError):
            async with Policy("p", Deadline(0.05), Timeout(5)).block_async():
                await asyncio.sleep(5)

        async def wait() -> None:
            async with Policy("p", Timeout(5)).block_async():
                await asyncio.sleep(5)

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_what_has_to_call_cannot_guard_a_block_of_a_coroutine() -> None:
    async def main() -> None:
        with pytest.raises(ConfigurationError, match="retry cannot guard a block"):
            async with Policy("p", Retry(on=Down)).block_async():
                pass

    asyncio.run(main())
