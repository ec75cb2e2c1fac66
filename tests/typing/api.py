"""What type checkers see of the public API: checked by `make types`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, assert_type

from premortem.errors import Exhausted, Hung, Violated
from premortem.experiment import run_alone
from premortem.model import Run, Verdict
from premortem.model.journal import read
from premortem.policies import CircuitBreaker, Policy, Retry, Timeout

orders = Policy("orders", Retry(3, on=(ConnectionError, TimeoutError)), CircuitBreaker(), Timeout(0.5))
stream = Policy("stream", CircuitBreaker())


@orders
def place(order: str, *, times: int = 1) -> list[str]:
    return [order] * times


@orders
async def place_later(order: str) -> int:
    return len(order)


@stream
def lines(path: str) -> Iterator[str]:
    yield path


@stream
async def messages(topic: str) -> AsyncIterator[bytes]:
    yield topic.encode()


class Client:
    @orders
    def get(self, key: str) -> bytes:
        return key.encode()


assert_type(place("tea", times=2), list[str])
later: Callable[[str], Coroutine[Any, Any, int]] = place_later
assert_type(lines("log"), Iterator[str])
assert_type(messages("sales"), AsyncIterator[bytes])
assert_type(Client().get("k"), bytes)
assert_type(orders.call(place, "tea", times=3), list[str])
assert_type(orders.describe(), str)

place(3)  # type: ignore[arg-type] # the parameters are the function's own
place("tea", 2)  # type: ignore[call-arg]

predictions: list[object] = [KeyError, Violated("charged twice"), Hung(after_s=2), Exhausted("memory")]
alone: Callable[[str], None] = run_alone
recorded: Callable[..., Run] = read
verdict: Verdict = Verdict.PROVEN
