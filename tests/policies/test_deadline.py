"""Deadline: the time for all of it, seen by everything inside."""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies import ambient
from premortem.policies.policy import Policy
from premortem.policies.rejections import AttemptTimeoutError, DeadlineExceededError
from premortem.policies.retry import Retry
from premortem.policies.timeouts import Deadline, Timeout
from premortem.policies.timing import TIME
from premortem.policies.waits import Fixed


def call(policy: Policy, function: Callable[[], Any], flavour: str) -> Any:
    """`function` under `policy`, as a function or within a coroutine function."""
    if flavour == "sync":
        return policy(function)()

    async def inside() -> Any:
        result = function()
        return await result if asyncio.iscoroutine(result) else result

    async def main() -> Any:
        return await policy(inside)()

    return asyncio.run(main())


def hang(flavour: str) -> Any:
    return asyncio.sleep(2) if flavour == "async" else time.sleep(2)


both = pytest.mark.parametrize("flavour", ["sync", "async"])


@both
@pytest.mark.parametrize(
    "specs",
    [
        (Deadline(0.3),),
        (Deadline(0.3), Retry(5, on=ConnectionError)),
        (Deadline(0.3), Retry(5, on=Exception, wait=Fixed(0))),
        (Deadline(0.3), Timeout(5)),
        (Deadline(0.3), Retry(5, on=TimeoutError, wait=Fixed(0)), Timeout(0.2)),
        (Deadline(0.3), Deadline(5)),
        (Deadline(5), Deadline(0.3)),
        (Deadline(0.3, interrupt=False), Timeout(5)),
    ],
    ids=lambda specs: "-".join(spec.kind for spec in specs),
)
def test_a_total_limit_around_a_hanging_attempt_holds(specs: tuple[Any, ...], flavour: str) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        call(Policy("p", *specs), lambda: hang(flavour), flavour)
    assert 0.25 < time.monotonic() - began < 0.6
    assert ambient.get_until() is None


@both
def test_the_deadline_is_ambient_and_only_shrinks(flavour: str) -> None:
    def look() -> float:
        left_s = ambient.remaining_s()
        assert left_s is not None
        return left_s

    assert 4.5 < call(Policy("p", Deadline(5)), look, flavour) <= 5
    assert 4.5 < call(Policy("p", Deadline(5), Deadline(50)), look, flavour) <= 5
    assert 4.5 < call(Policy("p", Deadline(50), Deadline(5)), look, flavour) <= 5
    assert 4.5 < call(Policy("p", Deadline(5, interrupt=False), Timeout(1)), look, flavour) <= 5
    assert ambient.get_until() is None


@both
def test_a_retry_refuses_a_sleep_that_would_outlast_it(flavour: str) -> None:
    calls: list[int] = []

    def fails() -> None:
        calls.append(1)
        raise ConnectionError("down")

    began = time.monotonic()
    with pytest.raises(ConnectionError, match="down") as caught:
        call(Policy("p", Deadline(2), Retry(5, on=ConnectionError, wait=Fixed(30))), fails, flavour)
    assert time.monotonic() - began < 1
    assert len(calls) == 1
    assert "after the deadline" in caught.value.__notes__[0]


@both
def test_it_is_never_retried(flavour: str) -> None:
    heard: list[Event] = []
    with listening(heard.append), pytest.raises(DeadlineExceededError):
        call(
            Policy("p", Retry(5, on=Exception, wait=Fixed(0)), Deadline(0.05), lint=False),
            lambda: hang(flavour),
            flavour,
        )
    assert [event.name for event in heard] == ["policy.deadline"]


@both
def test_a_cooperative_one_interrupts_nothing(flavour: str) -> None:
    def late() -> str:
        time.sleep(0.15)
        return "late"

    began = time.monotonic()
    assert call(Policy("p", Deadline(0.05, interrupt=False)), late, flavour) == "late"
    assert time.monotonic() - began >= 0.15


@both
def test_one_that_is_over_lets_nothing_begin(flavour: str) -> None:
    calls: list[int] = []

    def outlives() -> None:
        time.sleep(0.08)
        for limit in (Deadline(5), Deadline(5, interrupt=False), Timeout(5)):
            with pytest.raises(DeadlineExceededError):
                Policy("inner", limit)(lambda: calls.append(1))()

    call(Policy("p", Deadline(0.05, interrupt=False)), outlives, flavour)
    assert not calls


def test_one_that_is_over_lets_no_coroutine_begin() -> None:
    calls: list[int] = []

    async def never() -> None:
        calls.append(1)

    async def outlives() -> None:
        time.sleep(0.08)  # noqa: ASYNC251 - nothing can interrupt it
        for limit in (Deadline(5), Deadline(5, interrupt=False), Timeout(5)):
            with pytest.raises(DeadlineExceededError):
                await Policy("inner", limit)(never)()

    asyncio.run(Policy("p", Deadline(0.05, interrupt=False))(outlives)())
    assert not calls


def test_it_goes_along_into_tasks_and_their_timeouts_end_with_it() -> None:
    async def main() -> None:
        hanging = Policy("inner", Timeout(5))(asyncio.sleep)

        async def parent() -> list[Any]:
            return await asyncio.gather(*(hanging(2) for _ in range(3)), return_exceptions=True)

        began = time.monotonic()
        results = await Policy("p", Deadline(0.1, interrupt=False))(parent)()
        assert [type(result) for result in results] == [DeadlineExceededError] * 3
        assert time.monotonic() - began < 0.6

    asyncio.run(main())


@pytest.mark.parametrize("limit", [Timeout(5), Deadline(5)])
@pytest.mark.parametrize("plain", [False, True])
def test_a_limit_that_has_been_used_before_is_cut_all_the_same(limit: Timeout | Deadline, *, plain: bool) -> None:
    async def main() -> None:
        hanging: Any = (limit.layer("inner").wrap_async if plain else Policy("inner", limit))(asyncio.sleep)
        await hanging(0)
        began = time.monotonic()
        with pytest.raises(DeadlineExceededError):
            await Policy("p", Deadline(0.1, interrupt=False))(hanging)(2)
        assert time.monotonic() - began < 0.6

    asyncio.run(main())


def test_outer_cancellation_is_not_a_deadline() -> None:
    async def main() -> None:
        task = asyncio.ensure_future(Policy("p", Deadline(5), Deadline(5), Timeout(5))(asyncio.sleep)(3))
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert task.cancelling() == 1

    asyncio.run(main())


def test_a_timeout_inside_that_comes_first_is_a_timeout() -> None:
    async def main() -> None:
        with pytest.raises(AttemptTimeoutError):
            await Policy("p", Deadline(5), Timeout(0.05))(asyncio.sleep)(3)

    asyncio.run(main())


def test_an_abandoned_call_begins_nothing_new() -> None:
    began: list[float] = []

    def fails_slowly() -> None:
        began.append(time.monotonic())
        time.sleep(0.15)
        raise ConnectionError

    policy = Policy("p", Deadline(0.1), Retry(5, on=ConnectionError, wait=Fixed(0)))
    with pytest.raises(DeadlineExceededError):
        policy(fails_slowly)()
    time.sleep(0.4)
    assert len(began) == 1


def test_interrupt_has_to_be_a_bool() -> None:
    with pytest.raises(ConfigurationError, match=r"interrupt = 'yes'"):
        Deadline(1, interrupt="yes")  # type: ignore[arg-type]


@pytest.fixture
def still() -> Iterator[list[float]]:
    before, now = TIME.monotonic, [0.0]
    TIME.monotonic = lambda: now[0]
    yield now
    TIME.monotonic = before


def test_the_time_is_the_policies_own(still: list[float]) -> None:
    def look() -> float | None:
        still[0] += 1.5
        return ambient.remaining_s()

    assert Policy("p", Deadline(2, interrupt=False))(look)() == 0.5
