"""StaleCache: the last good answers, fresh ones without a call, old ones instead of an error."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from premortem.errors import ConfigurationError
from premortem.policies.policy import Policy
from premortem.policies.stale import Answers, StaleCache
from premortem.policies.timing import TIME


@pytest.fixture
def clock() -> Iterator[list[float]]:
    before, now = TIME.monotonic, [1000.0]
    TIME.monotonic = lambda: now[0]
    yield now
    TIME.monotonic = before


@pytest.mark.parametrize(
    "nonsense",
    [
        {"stale_s": 0},
        {"stale_s": float("nan")},
        {"fresh_s": -1},
        {"stale_s": 5, "fresh_s": 6},
        {"entries": 0},
        {"entries": True},
        {"key": "id"},
        {"on": BaseException},
    ],
)
def test_nonsense_is_refused(nonsense: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=list(nonsense)[-1]):
        StaleCache(**nonsense)


@pytest.mark.parametrize("flavour", ["sync", "async"])
def test_fresh_stale_and_too_old(flavour: str, clock: list[float]) -> None:
    calls: list[str] = []
    up = [True]

    def fetch(item: str) -> str:
        calls.append(item)
        if not up[0]:
            raise ConnectionError("down")
        return f"{item} {len(calls)}"

    async def fetch_async(item: str) -> str:
        return fetch(item)

    policy = Policy("p", StaleCache(60, fresh_s=10))
    if flavour == "sync":
        get = policy(fetch)
    else:
        one = policy(fetch_async)

        def get(item: str) -> str:
            return asyncio.run(one(item))

    assert get("a") == get("a") == "a 1"
    assert get("b") == "b 2"
    clock[0] += 10
    assert get("a") == "a 3"
    up[0] = False
    clock[0] += 59
    assert get("a") == "a 3", "stale, instead of the error"
    clock[0] += 1
    with pytest.raises(ConnectionError):
        get("a")


def test_functions_of_one_policy_do_not_share_answers() -> None:
    policy = Policy("p", StaleCache(60, fresh_s=60))
    assert policy(lambda _x: "one")(1) == "one"
    assert policy(lambda _x: "two")(1) == "two"


def test_a_call_once_shares_them() -> None:
    policy, calls = Policy("p", StaleCache(60, fresh_s=60)), list[int]()

    def fetch(number: int) -> int:
        calls.append(number)
        return number

    assert policy.call(fetch, 1) == policy.call(fetch, 1) == 1
    assert calls == [1]


def test_a_key_from_the_arguments() -> None:
    policy, calls = Policy("p", StaleCache(60, fresh_s=60, key=lambda body: body["id"])), list[int]()

    def fetch(body: dict[str, int]) -> int:
        calls.append(1)
        return body["id"]

    get = policy(fetch)
    assert get({"id": 1, "at": 5}) == get({"id": 1, "at": 6}) == 1
    assert len(calls) == 1


def test_arguments_that_are_no_key_are_refused_with_the_way_out() -> None:
    with pytest.raises(ConfigurationError, match="give key="):
        Policy("p", StaleCache())(lambda _body: 1)({"id": 1})


class Model(RuleBasedStateMachine):
    """Answers beside a list of what was put, in order of the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.now = TIME.monotonic, 0.0
        TIME.monotonic = lambda: self.now
        self.answers = Answers(3)
        self.model: dict[int, tuple[int, float]] = {}

    def teardown(self) -> None:
        TIME.monotonic = self.before

    @rule(key=st.integers(0, 5), value=st.integers())
    def put(self, key: int, value: int) -> None:
        self.answers.put(key, value)
        self.model[key] = (value, self.now)
        while len(self.model) > 3:
            del self.model[next(iter(self.model))]

    @rule(seconds=st.floats(0, 5))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 5), age_s=st.floats(0.1, 10))
    def get(self, key: int, age_s: float) -> None:
        answer = self.answers.get(key, age_s)
        value, at = self.model.get(key, (0, float("-inf")))
        expected = value if self.now - at < age_s else None
        assert (answer[0] if answer else None) == expected


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_an_entry_that_is_put_again_is_noted_once() -> None:
    answers = Answers(10)
    for number in range(100):
        answers.put("key", number)
    assert len(answers._order) == 1


def test_threads_put_at_once_and_the_bound_holds() -> None:
    answers = Answers(10)

    def hammer(seed: int) -> None:
        for number in range(3000):
            answers.put((seed * number) % 37, number)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in (3, 5, 7, 11)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(answers) <= 10
    assert len(answers._order) < 100
