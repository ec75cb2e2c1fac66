"""Chaos as policies: at its rate, from its seed, and absent when it is off."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.policies import Fixed, Policy, Retry
from premortem.policies.chaos import ChaosBehaviour, ChaosFault, ChaosLatency, ChaosOutcome
from premortem.policies.testing import VirtualTime, captured, virtual_time

Run = Callable[..., Any]


def _run(*specs: Any, times: int = 1) -> list[Any]:
    calls: list[Any] = []

    @Policy("p", *specs)
    def function() -> str:
        return "answer"

    for _ in range(times):
        try:
            calls.append(function())
        except ConnectionError as error:
            calls.append(error)
    return calls


def _run_async(*specs: Any, times: int = 1) -> list[Any]:
    calls: list[Any] = []

    @Policy("p", *specs)
    async def function() -> str:
        await asyncio.sleep(0)
        return "answer"

    async def main() -> None:
        for _ in range(times):
            try:
                calls.append(await function())
            except ConnectionError as error:
                calls.append(error)

    asyncio.run(main())
    return calls


@pytest.fixture(params=[_run, _run_async], ids=["sync", "async"])
def run(request: pytest.FixtureRequest) -> Run:
    run: Run = request.param
    return run


@pytest.fixture(autouse=True)
def time() -> Iterator[VirtualTime]:
    with virtual_time() as time:
        yield time


def test_a_fault_of_a_type_or_a_function(run: Run) -> None:
    assert str(run(ChaosFault(ConnectionError, rate=1))[0]) == "chaos of policy 'p'"
    assert run(ChaosFault(lambda: ConnectionResetError(104), rate=1))[0].args == (104,)


def test_latency_comes_before_the_call(run: Run, time: VirtualTime) -> None:
    assert run(ChaosLatency(1.5, rate=1)) == ["answer"]
    assert time.slept == [1.5]


def test_another_outcome(run: Run) -> None:
    assert run(ChaosOutcome(None, rate=1)) == [None]


def test_behaviour_is_called_and_then_the_function(run: Run) -> None:
    done: list[int] = []
    assert run(ChaosBehaviour(lambda: done.append(1), rate=1), times=2) == ["answer", "answer"]
    assert done == [1, 1]


def test_a_coroutine_function_as_behaviour() -> None:
    done: list[int] = []

    async def behave() -> None:
        await asyncio.sleep(0)
        done.append(1)

    assert _run_async(ChaosBehaviour(behave, rate=1)) == ["answer"]
    assert done == [1]
    with pytest.raises(ConfigurationError, match="around a plain one"):
        _run(ChaosBehaviour(behave, rate=1))


def test_the_rate_is_met_and_a_seed_gives_the_same_calls_again(run: Run) -> None:
    first = run(ChaosOutcome("chaos", rate=0.3, seed=7), times=2000)
    assert 500 < first.count("chaos") < 700
    assert run(ChaosOutcome("chaos", rate=0.3, seed=7), times=2000) == first
    assert run(ChaosOutcome("chaos", rate=0.3, seed=8), times=2000) != first


def test_a_drawn_seed_is_told_and_replays(run: Run) -> None:
    with captured() as events:
        first = run(ChaosOutcome("chaos", rate=0.5), times=50)
    assert {event.name for event in events} == {"policy.chaos"}
    assert (events[0].get("policy"), events[0].get("chaos")) == ("p", "chaos_outcome")
    seed: Any = events[0].get("seed")
    assert run(ChaosOutcome("chaos", rate=0.5, seed=seed), times=50) == first


def test_a_switch_is_asked_at_every_call_and_shifts_nothing(run: Run) -> None:
    plain = run(ChaosOutcome("chaos", rate=0.5, seed=3), times=100)
    asked = iter([False] * sum(one == "chaos" for one in plain[:50]) + [True] * 100)
    switched = run(ChaosOutcome("chaos", rate=0.5, seed=3, enabled=lambda: next(asked)), times=100)
    assert switched[:50] == ["answer"] * 50
    assert switched[50:] == plain[50:]


@pytest.mark.parametrize("off", [{"rate": 0}, {"rate": 1, "enabled": False}])
def test_what_is_off_is_not_there(off: dict[str, Any]) -> None:
    def function() -> None: ...

    async def coroutine() -> None: ...

    specs = (
        ChaosFault(OSError, **off), ChaosLatency(1, **off), ChaosOutcome(1, **off), ChaosBehaviour(print, **off)
    )  # fmt: skip
    for spec in specs:
        layer = spec.layer("p")
        assert layer.wrap(function) is function
        assert layer.wrap_async(coroutine) is coroutine
    without, beside = Policy("p", Retry(3, on=OSError)), Policy("p", Retry(3, on=OSError), *specs)
    assert without(function).__premortem_source__ == beside(function).__premortem_source__  # type: ignore[attr-defined]


def test_other_policies_meet_it() -> None:
    assert _run(Retry(50, on=OSError, wait=Fixed(0)), ChaosFault(ConnectionError, rate=0.5, seed=1)) == ["answer"]


@pytest.mark.parametrize("make", [
    lambda: ChaosFault(OSError, rate=1.5), lambda: ChaosFault(OSError, rate=-0.1),
    lambda: ChaosFault(OSError, rate="yes"),  # type: ignore[arg-type]
    lambda: ChaosFault(OSError, rate=float("nan")), lambda: ChaosFault(KeyboardInterrupt, rate=1),  # type: ignore[arg-type]
    lambda: ChaosFault("OSError", rate=1), lambda: ChaosFault(UnicodeDecodeError, rate=1),  # type: ignore[arg-type]
    lambda: ChaosLatency(0, rate=1), lambda: ChaosLatency(999999, rate=1),
    lambda: ChaosOutcome(1, rate=1, seed=-1), lambda: ChaosOutcome(1, rate=1, enabled="yes"),  # type: ignore[arg-type]
    lambda: ChaosBehaviour(3, rate=1),  # type: ignore[arg-type]
])  # fmt: skip
def test_nonsense_is_refused(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError, match=r"Chaos\w+\.\w+ = "):
        make()
