"""Policies as data: there and back, and every problem of a document said at once."""

import math
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.policies import Backoff, Fixed, Policy, Retry, RetryBudget, dotted
from premortem.policies.breaker import CircuitBreaker
from premortem.policies.bulkhead import Bulkhead
from premortem.policies.chaos import ChaosBehaviour, ChaosFault, ChaosLatency, ChaosOutcome
from premortem.policies.data import KINDS, PARTS, _load, policies_from_toml, policy_from_data, policy_to_data
from premortem.policies.fallback import Fallback
from premortem.policies.hedging import Hedge
from premortem.policies.rate_limiter import RateLimiter
from premortem.policies.rejections import RejectedError
from premortem.policies.stale import StaleCache
from premortem.policies.timeouts import Deadline, Timeout
from premortem.policies.waits import JITTERS
from premortem.policies.windows import Consecutive, FailuresWithin, RateOfLast, RateWithin, SlowCalls

DOCUMENT = """
[budgets.shared]
share = 0.1

[[orders]]
kind = "fallback"
on = "premortem.policies.rejections.RejectedError"
value = {status = "later", items = []}

[[orders]]
kind = "deadline"
limit_s = 2

[[orders]]
kind = "retry"
attempts = 4
on = ["ConnectionError", "urllib.error.URLError"]
never = ["PermissionError"]
wait = {kind = "backoff", base_s = 0.05, jitter = "equal"}
budget = "shared"
if_result = "math.isnan"

[[orders]]
kind = "circuit_breaker"
trip = {kind = "rate_of_last", calls = 50}
slow = {kind = "slow_calls", over_s = 1.5}

[[orders]]
kind = "timeout"
limit_s = 0.5

[[users]]
kind = "retry"
on = "OSError"
wait = {kind = "fixed", wait_s = 1}
budget = "shared"
"""


def test_a_document_is_read_from_the_outside_in(tmp_path: Path) -> None:
    read = policies_from_toml(DOCUMENT)
    assert list(read) == ["orders", "users"]
    fallback, deadline, retry, breaker, timeout = read["orders"].specs
    assert fallback == Fallback(on=RejectedError, value={"status": "later", "items": []})
    assert deadline == Deadline(2)
    assert isinstance(retry, Retry)
    assert (retry.attempts, retry.on, retry.never) == (4, (ConnectionError, URLError), (PermissionError,))
    assert (retry.wait, retry.if_result) == (Backoff(0.05, jitter="equal"), math.isnan)
    assert breaker == CircuitBreaker(trip=RateOfLast(calls=50), slow=SlowCalls(over_s=1.5))
    assert timeout == Timeout(0.5)
    users = read["users"].specs[0]
    assert isinstance(users, Retry)
    assert users.budget is retry.budget is not None, "one budget, shared"
    assert users.wait == Fixed(1)
    file = tmp_path / "policies.toml"
    file.write_text(DOCUMENT)
    for source in (file, str(file)):
        assert policies_from_toml(source)["orders"].specs[1:2] == (deadline,)


def test_a_budget_from_outside() -> None:
    budget = RetryBudget()
    policy = policy_from_data("p", [{"kind": "retry", "on": "OSError", "budget": "b"}], {"b": budget})
    assert policy.specs[0].budget is budget  # type: ignore[attr-defined]


def test_every_problem_of_a_document_is_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as raised:
        policies_from_toml("""
            [budgets.shared]
            share = 2
            floor_per_sec = 1
            [[orders]]
            kind = "retri"
            [[orders]]
            kind = "retry"
            atempts = 3
            attempts = -1
            nested = "maybe"
            on = ["ConectionError", "nosuchmodule.Error", "KeyboardInterrupt"]
            budget = "sharde"
            wait = {kind = "backof"}
            [[orders]]
            kind = "retry"
            on = "OSError"
            attempts = "yes"
            retry_after_cap_s = nan
            wait = "fixed"
            [[orders]]
            kind = "timeout"
            limit_s = 0
            [[orders]]
            kind = "bulkhead"
            permits = 0
            wait_s = -1
            [[orders]]
            kind = "deadline"
            [[users]]
            limit_s = 1
            """)
    said = str(raised.value)
    for problem in (
        "RetryBudget.share = 2: has to be a number from 0 to 1",
        "budgets.shared: unknown field 'floor_per_sec'; did you mean 'floor_per_s'?",
        "orders[0]: unknown kind 'retri'; did you mean 'retry'?",
        "orders[1] retry: unknown field 'atempts'; did you mean 'attempts'?",
        "orders[1] retry.on = 'ConectionError': builtins has no 'ConectionError'; did you mean 'ConnectionError'?",
        "'nosuchmodule.Error': there is no module 'nosuchmodule' here; install it",
        "'KeyboardInterrupt': is <class 'KeyboardInterrupt'>, and has to be an exception type below Exception",
        "orders[1] retry: Retry.attempts = -1: has to be a whole number from 1 to 100",
        'orders[1] retry: Retry.nested = \'maybe\': has to be "collapse" or "allow"',
        "orders[1] retry.wait: unknown kind 'backof'; did you mean 'backoff'?",
        "orders[2] retry: Retry.attempts = 'yes': has to be a whole number from 1 to 100",
        "orders[2] retry: Retry.retry_after_cap_s = nan: has to be a number",
        "orders[2] retry.wait = 'fixed': has to be a table with a kind",
        "orders[3] timeout: Timeout.limit_s = 0: has to be a number from 0.001",
        "orders[4] bulkhead: Bulkhead.permits = 0",
        "orders[4] bulkhead: Bulkhead.wait_s = -1",
        "orders[5] deadline: limit_s is missing, and has no default",
        "users[0] = {'limit_s': 1}: has to be a table with a kind",
    ):
        assert problem in said
    assert "budget = 'sharde': no budget has this name" in said
    assert said.startswith("19 problems:\n  "), said
    assert said.count("\n  ") == 19


NONSENSE = (
    ({"kind": "timeout", "limit_s": 0}, "Timeout.limit_s = 0"),
    ({"kind": "timeout", "limit_s": 0.00001}, "Timeout.limit_s = 1e-05"),
    ({"kind": "timeout", "limit_s": 999999}, "Timeout.limit_s = 999999"),
    ({"kind": "timeout", "limit_s": "yes"}, "Timeout.limit_s = 'yes'"),
    ({"kind": "timeout", "limit_s": math.nan}, "Timeout.limit_s = nan"),
    ({"kind": "timeout", "limit_s": True}, "Timeout.limit_s = True"),
    ({"kind": "deadline", "limit_s": 0}, "Deadline.limit_s = 0"),
    ({"kind": "retry", "on": "OSError", "attempts": -1}, "Retry.attempts = -1"),
    ({"kind": "retry", "on": "OSError", "attempts": 2.5}, "Retry.attempts = 2.5"),
    ({"kind": "bulkhead", "permits": 0}, "Bulkhead.permits = 0"),
    ({"kind": "bulkhead", "permits": "yes"}, "Bulkhead.permits = 'yes'"),
    ({"kind": "rate_limiter", "rate": 0}, "RateLimiter.rate = 0"),
    ({"kind": "rate_limiter", "rate": math.nan}, "RateLimiter.rate = nan"),
    ({"kind": "circuit_breaker", "recovery_s": 0}, "CircuitBreaker.recovery_s = 0"),
    ({"kind": "hedge", "delay_s": math.inf, "idempotent": True}, "Hedge.delay_s = inf"),
    ({"kind": "chaos_latency", "latency_s": 1, "rate": "yes"}, "ChaosLatency.rate = 'yes'"),
    ({"kind": "circuit_breaker", "store": "redis"}, "has to be a table with a kind"),
)


@pytest.mark.parametrize(("table", "said"), NONSENSE, ids=[said for _, said in NONSENSE])
def test_nonsense_is_refused_with_value_rule_and_way_out(table: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        policy_from_data("p", [table])
    assert said in str(raised.value)
    assert "has to be" in str(raised.value)


def test_ten_thousand_workers_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"Bulkhead.permits = 10000: has to be"):
        policy_from_data("p", [{"kind": "bulkhead", "permits": 10_000}])


@pytest.mark.parametrize("data", [{}, [], {"layers": 3}, {"layers": [3]}, {"kind": "retry"}, 7, "retry", None])
def test_what_is_no_list_of_tables(data: object) -> None:
    with pytest.raises(ConfigurationError, match=r"has to be a (list of tables|table)"):
        policy_from_data("p", data)


@pytest.mark.parametrize("text", ["x = ", "orders = 3", "budgets = 3\n[[orders]]\nkind='retry'\non='OSError'"])
def test_what_is_no_document(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has to be|cannot be read as TOML"):
        policies_from_toml(text)
    with pytest.raises(ConfigurationError, match=r"nosuchfile\.toml: cannot be read"):
        policies_from_toml("nosuchfile.toml")


def test_every_kind_is_its_own_and_can_be_read() -> None:
    for kinds in (KINDS, PARTS):
        for kind, place in kinds.items():
            made = _load(place)
            assert getattr(made, "kind", kind) == kind


def test_dotted_names() -> None:
    assert dotted.found("os.path.join") is __import__("os").path.join
    assert dotted.exception("concurrent.futures.TimeoutError") is TimeoutError
    assert dotted.name_of(ConnectionError) == "ConnectionError"
    assert dotted.name_of(dotted.found) == "premortem.policies.dotted.found"
    for wrong in ("", "a b", ".x", 3, None, "os.", "os.path.nosuch", "os.nosuch.deep"):
        with pytest.raises(ConfigurationError):
            dotted.found(wrong)


def test_a_module_that_fails_to_import_says_what_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lacks_something.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigurationError, match="install surely_not_installed"):
        dotted.found("lacks_something.Error")


@pytest.mark.parametrize("spec", [
    Retry(on=OSError, if_result=lambda _: True),
    ChaosBehaviour(lambda: None, rate=1),
])  # fmt: skip
def test_what_no_data_can_say(spec: Any) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written as data"):
        policy_to_data(Policy("p", spec))


def behave() -> None:
    """Something that a document may name."""


seconds = st.floats(0.01, 100)
exceptions = st.sampled_from([(OSError,), (ConnectionError, TimeoutError), (RejectedError,)])
waits = st.builds(Backoff, st.floats(0.01, 1), st.floats(1, 10), st.sampled_from(JITTERS)) | st.builds(
    Fixed, st.floats(0, 5)
)
BUDGETS = (RetryBudget(0.1), RetryBudget(0.3, 1, 60))
budgets = st.sampled_from([None, *BUDGETS])
trips = st.one_of(
    st.builds(FailuresWithin, st.integers(1, 50)),
    st.builds(Consecutive, st.integers(1, 50)),
    st.builds(RateOfLast, st.floats(0.1, 1)),
    st.builds(RateWithin, st.floats(0.1, 1)),
)
rate = st.floats(0, 1)
specs = st.one_of(
    st.builds(
        Retry, st.integers(1, 100), on=exceptions, never=st.sampled_from([(), (PermissionError,)]), wait=waits,
        budget=budgets, if_result=st.sampled_from([None, math.isnan]), nested=st.sampled_from(["collapse", "allow"]),
        retry_after_cap_s=st.floats(0, 3600),
    ),
    st.builds(Timeout, seconds),
    st.builds(Deadline, seconds, interrupt=st.booleans()),
    st.builds(CircuitBreaker, trip=trips, failures=exceptions, slow=st.none() | st.builds(SlowCalls, seconds)),
    st.builds(Bulkhead, st.integers(1, 500), wait_s=st.floats(0, 5)),
    st.builds(RateLimiter, st.floats(1, 100)),
    st.builds(Hedge, seconds, budget=budgets, idempotent=st.just(True)),
    st.builds(Fallback, on=exceptions, value=st.one_of(st.none(), st.text(), st.integers(), st.lists(st.integers()))),
    st.builds(Fallback, on=exceptions, stale=st.builds(StaleCache, seconds)),
    st.builds(Fallback, on=exceptions, providers=st.just((behave, math.sqrt))),
    st.builds(ChaosFault, st.sampled_from([OSError, ConnectionError]), rate=rate, enabled=st.booleans()),
    st.builds(ChaosLatency, seconds, rate=rate, seed=st.none() | st.integers(0, 99)),
    st.builds(ChaosOutcome, st.none() | st.text() | st.dictionaries(st.text(), st.integers()), rate=rate),
    st.builds(ChaosBehaviour, st.just(behave), rate=rate),
)  # fmt: skip


@given(st.lists(specs, min_size=1, max_size=5))
@pytest.mark.filterwarnings("ignore")
def test_a_policy_comes_back_from_its_data(chosen: list[Any]) -> None:
    data = policy_to_data(Policy("p", *chosen))
    known: dict[str, RetryBudget] = {}
    for spec in chosen:  # the same objects, for budgets are equal to themselves alone
        budget = getattr(spec, "budget", None)
        if budget is not None and budget not in known.values():
            known[f"budget_{len(known) + 1}"] = budget
    back = policy_from_data("p", {"layers": data["layers"]}, known)
    assert back.specs == tuple(chosen)
    alone = policy_from_data("p", data)
    assert policy_to_data(alone) == data
    assert len({id(b) for b in (getattr(s, "budget", None) for s in alone.specs) if b}) == len(known)
