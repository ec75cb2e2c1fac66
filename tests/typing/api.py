"""What type checkers see of the public API: checked by `make types`, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, assert_type

from premortem.errors import Exhausted, Hung, Violated
from premortem.experiment import run_alone
from premortem.experiment.ledger import Ledger
from premortem.faults import syscalls
from premortem.faults.proxy import Armed, FaultProxy, Strike
from premortem.faults.sweep.forks import Crash, every_crash
from premortem.faults.sweep.here import Struck, sweep_wire
from premortem.model import Run, Verdict
from premortem.model.journal import read
from premortem.model.recipe import Recipe
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


async def struck(proxy: FaultProxy) -> None:
    with proxy.latency(0.02, jitter_s=0.005, direction="down", share=0.5) as slow:
        assert_type(slow, Armed)
    async with proxy.at("postgres:COMMIT#1:after", Recipe("postgres", "INSERT", 3)) as lost:
        assert_type(lost.strikes, tuple[Strike, ...])
    proxy.latency("20ms")  # type: ignore[arg-type] # seconds, and nothing else
    proxy.reset(direction="sideways")  # type: ignore[arg-type]


assert_type(every_crash(print, "state", folder=Path()), Iterator[Crash])
assert_type(sweep_wire(len, "postgresql://127.0.0.1/shop"), Iterator[Struck])
ended: Callable[..., syscalls.Ended] = syscalls.run
with Ledger(definite=(KeyError,)).writing("order-1", "paid"):
    pass
