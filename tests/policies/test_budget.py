"""The retry budget: a share of the traffic and a floor, within a window, for all who share it."""

import threading
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from premortem.errors import ConfigurationError
from premortem.policies import RetryBudget
from premortem.policies.testing import VirtualTime, virtual_time


@pytest.fixture
def time() -> Iterator[VirtualTime]:
    with virtual_time() as time:
        yield time


def _withdrawn(budget: RetryBudget, tries: int = 10_000) -> int:
    return next(number for number in range(tries) if not budget.withdraw())


def test_a_share_of_the_calls_and_a_floor(time: VirtualTime) -> None:
    budget = RetryBudget(share=0.2, floor_per_s=1, window_s=10)
    for _ in range(100):
        budget.deposit()
    assert _withdrawn(budget) == 30
    time.advance(10)
    assert _withdrawn(budget) == 10


def test_calls_of_an_hour_ago_pay_for_nothing(time: VirtualTime) -> None:
    budget = RetryBudget(share=0.1, floor_per_s=0, window_s=10)
    for _ in range(3600):  # one a second for an hour, and nobody withdrew
        budget.deposit()
        time.advance(1)
    assert _withdrawn(budget) == 1


def test_a_window_slides(time: VirtualTime) -> None:
    budget = RetryBudget(share=1, floor_per_s=0, window_s=10)
    for _ in range(10):
        for _ in range(10):
            budget.deposit()
        time.advance(1)
        budget.withdraw()
    assert 80 <= _withdrawn(budget) <= 91


def test_ten_million_calls_take_no_memory(time: VirtualTime) -> None:
    del time
    budget = RetryBudget()
    tracemalloc.start()
    try:
        for _ in range(100_000):
            budget.deposit()
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


def test_threads_never_withdraw_more_than_there_is(time: VirtualTime) -> None:
    del time
    budget = RetryBudget(share=0.5, floor_per_s=0, window_s=10)
    got: list[bool] = []

    def work() -> None:
        for _ in range(500):
            budget.deposit()
        for _ in range(500):
            got.append(budget.withdraw())  # noqa: PERF401 - one by one, against the others

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(got) == 4000
    assert sum(got) <= 2000
    assert budget._recent_calls(budget._readings[-1][0]) == 4000  # no deposit was lost


@pytest.mark.parametrize("fields", [
    {"share": -0.1}, {"share": 2}, {"share": "yes"}, {"share": float("nan")}, {"floor_per_s": -1}, {"window_s": 0},
    {"window_s": 999999}, {"share": True},
])  # fmt: skip
def test_nonsense_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=r"RetryBudget\.\w+ = .*has to be"):
        RetryBudget(**fields)


class BudgetMachine(RuleBasedStateMachine):
    """Against a list of all times: never above the bound for any calls that could be in the window."""

    def __init__(self) -> None:
        super().__init__()
        self.context = virtual_time()
        self.time = self.context.__enter__()
        self.budget = RetryBudget(share=0.5, floor_per_s=0.2, window_s=10)
        self.calls: list[float] = []
        self.spent: list[float] = []

    @rule(number=st.integers(1, 30))
    def call(self, number: int) -> None:
        for _ in range(number):
            self.budget.deposit()
            self.calls.append(self.time.monotonic())

    @rule(seconds=st.floats(0.1, 30))
    def wait(self, seconds: float) -> None:
        self.time.advance(seconds)

    @rule()
    def withdraw(self) -> None:
        now = self.time.monotonic()
        self.spent = [at for at in self.spent if at > now - 10]
        recent = [at for at in self.calls if at >= now - 10]
        allowed = self.budget.withdraw()
        if allowed:
            assert len(self.spent) + 1 <= len(self.calls) * 0.5 + 2
            self.spent.append(now)
        if len(self.spent) + 1 <= 2:
            assert allowed, "the floor is for everybody"
        if not recent and not allowed:
            assert len(self.spent) >= 2

    def teardown(self) -> None:
        self.context.__exit__(None, None, None)


BudgetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestBudgetMachine = BudgetMachine.TestCase
