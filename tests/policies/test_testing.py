"""The tests' own tools: time that does not pass by itself, events heard, everything off."""

import asyncio
import gc
import inspect
import threading
import time as clock
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from premortem.events import emit
from premortem.policies import Fixed, Policy, Retry
from premortem.policies import policy as policy_module
from premortem.policies.bypass import SWITCH
from premortem.policies.rate_limiter import RateLimiter
from premortem.policies.testing import captured, disabled, instant, virtual_time
from premortem.policies.timing import TIME

wired = pytest.mark.skipif(not hasattr(policy_module, "SWITCH"), reason="policy.py does not tell the switch yet")


def _slow(spec: Retry, fused: bool = True) -> tuple[Callable[..., Any], list[Any]]:  # noqa: FBT002 - a test's own
    calls: list[Any] = []

    def fails(one: int = 1, /, *more: int, word: str = "w", **others: Any) -> None:
        calls.append((one, more, word, others))
        raise OSError

    guarded = Policy("p", spec, fused=fused)(fails)
    SWITCH.note(guarded)
    return guarded, calls


def test_a_second_of_sleep_is_a_second_and_takes_none() -> None:
    guarded, calls = _slow(Retry(5, on=OSError, wait=Fixed(1000)))
    began = clock.monotonic()
    with virtual_time() as time:
        before = TIME.monotonic()
        with pytest.raises(OSError):  # noqa: PT011 - its own
            guarded()
        assert TIME.monotonic() - before == pytest.approx(4000)
    assert (len(calls), time.slept) == (5, [1000] * 4)
    assert clock.monotonic() - began < 5
    assert TIME.monotonic is clock.monotonic
    assert TIME.sleep is clock.sleep


def test_a_coroutine_sleeps_virtually_and_lets_others_run() -> None:
    said: list[str] = []

    async def one(name: str) -> None:
        for _ in range(3):
            await TIME.sleep_async(100)
            said.append(name)

    async def both() -> None:
        await asyncio.gather(one("a"), one("b"))

    with virtual_time() as time:
        asyncio.run(both())
    assert said == ["a", "b"] * 3
    assert sum(time.slept) == 600


def test_instant_skips_the_waits_and_stands() -> None:
    with instant() as time:
        before = TIME.monotonic()
        TIME.sleep(50)
        asyncio.run(_sleep_once())
        assert TIME.monotonic() == before
    assert time.slept == [50, 60]


async def _sleep_once() -> None:
    await TIME.sleep_async(60)


def test_time_comes_back_after_an_error_and_blocks_nest() -> None:
    with pytest.raises(KeyError), virtual_time() as outer:  # noqa: PT012 - what it is about
        outer.advance(5)
        with instant():
            assert TIME.monotonic() == outer.monotonic()
        assert TIME.monotonic == outer.monotonic
        raise KeyError
    assert TIME.monotonic is clock.monotonic
    with pytest.raises(ValueError, match="cannot go back"):
        outer.advance(-1)


def test_events_of_every_thread_are_captured_and_of_policies_only() -> None:
    with captured() as events:
        emit("fault.struck")
        thread = threading.Thread(target=emit, args=("policy.retry",), kwargs={"policy": "p"})
        thread.start()
        thread.join(10)
    emit("policy.retry", policy="after")
    assert [(event.name, event.get("policy")) for event in events] == [("policy.retry", "p")]


@pytest.mark.parametrize("fused", [True, False])
def test_everything_off_calls_the_function_directly(fused: bool) -> None:
    guarded, calls = _slow(Retry(5, on=OSError, wait=Fixed(0)), fused=fused)
    with disabled():
        with pytest.raises(OSError) as raised:  # noqa: PT011 - its own
            guarded(3, 4, word="x", other=5)
        with disabled(), pytest.raises(OSError):  # noqa: PT011 - its own
            guarded()
        with pytest.raises(OSError):  # noqa: PT011 - its own
            guarded()
        within, called_within = _slow(Retry(5, on=OSError, wait=Fixed(0)), fused=fused)
        with pytest.raises(OSError):  # noqa: PT011 - its own
            within()
    assert calls == [(3, (4,), "x", {"other": 5}), (1, (), "w", {}), (1, (), "w", {})]
    assert len(called_within) == 1
    assert not hasattr(raised.value, "__notes__")
    for function, heard in ((guarded, calls), (within, called_within)):
        heard.clear()
        with pytest.raises(OSError):  # noqa: PT011 - its own
            function(7, word="y")
        assert heard == [(7, (), "y", {})] * 5


def test_a_coroutine_function_stays_one_while_off() -> None:
    calls = 0

    async def fails(number: int) -> int:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if calls < number:
            raise OSError
        return calls

    guarded = Policy("p", Retry(5, on=OSError, wait=Fixed(0)))(fails)
    SWITCH.note(guarded)
    with disabled():
        assert inspect.iscoroutinefunction(guarded)
        with pytest.raises(OSError):  # noqa: PT011 - its own
            asyncio.run(guarded(3))
    calls = 0
    assert asyncio.run(guarded(3)) == 3


def test_methods_and_generators_while_off() -> None:
    class Shop:
        def __init__(self) -> None:
            self.calls = 0

        def place(self, price: int = 1) -> int:
            self.calls += price
            return self.calls

    method: Any = Policy("p", Retry(5, on=OSError))(Shop.place)
    SWITCH.note(method)
    limit = RateLimiter(100)
    numbers, stream = Policy("p", limit)(_numbers), Policy("p", limit)(_stream)
    SWITCH.note(numbers)
    SWITCH.note(stream)
    shop = Shop()
    with disabled():
        assert method(shop, price=4) == 4
        assert list(numbers(3)) == [0, 1, 2]
        assert inspect.isgeneratorfunction(numbers)
        assert asyncio.run(_collected(stream(3))) == [0, 1, 2]
        assert inspect.isasyncgenfunction(stream)
    assert asyncio.run(_collected(stream(3))) == [0, 1, 2]
    assert method(shop) == 5
    assert list(numbers(3)) == [0, 1, 2]


def _numbers(most: int) -> Iterator[int]:
    yield from range(most)


async def _stream(most: int) -> AsyncIterator[int]:
    for number in range(most):
        await asyncio.sleep(0)
        yield number


async def _collected(stream: AsyncIterator[int]) -> list[int]:
    return [number async for number in stream]


def test_calls_from_other_threads_survive_the_exchange() -> None:
    def add(one: int, two: int = 2, *, three: int = 3) -> int:
        return one + two + three

    guarded = Policy("p", Retry(2, on=OSError))(add)
    SWITCH.note(guarded)
    ended, wrong = threading.Event(), []

    def call() -> None:
        while not ended.is_set():
            try:
                if guarded(1) != 6 or guarded(1, three=0) != 3:
                    wrong.append("result")
            except Exception as error:  # noqa: BLE001 - collected
                wrong.append(repr(error))

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(300):
        with disabled():
            guarded(1)
    ended.set()
    for thread in threads:
        thread.join(10)
    assert wrong == []


def test_the_switch_keeps_no_function_alive() -> None:
    gc.collect()
    before = len(SWITCH.decorated)
    guarded, _ = _slow(Retry(2, on=OSError))
    assert len(SWITCH.decorated) == before + 1
    del guarded
    gc.collect()
    assert len(SWITCH.decorated) == before


@wired
def test_a_policy_tells_the_switch_of_what_it_decorates() -> None:
    calls = 0

    @Policy("p", Retry(5, on=OSError, wait=Fixed(0)))
    def fails() -> None:
        nonlocal calls
        calls += 1
        raise OSError

    with disabled(), pytest.raises(OSError):  # noqa: PT011 - its own
        fails()
    assert calls == 1


@wired
def test_a_block_lets_everything_in_while_off() -> None:
    class Refuse:
        kind = "refuse"

        def layer(self, policy: str) -> Any:
            del policy
            return self

        def enter(self) -> None:
            raise OSError("refused")

        async def enter_async(self) -> None:
            raise OSError("refused")

        def leave(self, permit: Any, error: BaseException | None) -> None: ...

    policy = Policy("p", Refuse())
    with disabled(), policy.block():
        pass
    with pytest.raises(OSError, match="refused"), policy.block():
        pass
