"""The lint of the order: every rule finds what it is for, and the usual order is clean."""

import warnings
from dataclasses import dataclass
from typing import Any

import pytest

from premortem.policies import Policy, Retry
from premortem.policies import policy as policy_module
from premortem.policies.chaos import ChaosFault
from premortem.policies.data import KINDS
from premortem.policies.lint import CHAOS, RULES, PolicyOrderWarning, findings


@dataclass(frozen=True)
class Named:
    kind: str

    def layer(self, policy: str) -> Any:
        raise NotImplementedError


def _rules(order: str) -> list[str]:
    return [finding.rule for finding in findings([Named(kind) for kind in order.split()])]


CLEAN = "fallback deadline retry circuit_breaker rate_limiter bulkhead hedge timeout chaos_fault"

FOUND = (
    ("circuit_breaker retry", "retry-inside-breaker"),
    ("timeout retry", "timeout-outside-retry"),
    ("timeout circuit_breaker", "timeout-outside-breaker"),
    ("rate_limiter retry", "rate-limiter-outside-retry"),
    ("bulkhead retry", "bulkhead-outside-retry"),
    ("adaptive_concurrency retry", "adaptive-concurrency-outside-retry"),
    ("retry fallback", "fallback-inside-retry"),
    ("circuit_breaker fallback", "fallback-inside-breaker"),
    ("retry retry", "two-retries"),
    ("retry deadline", "deadline-inside-retry"),
    ("hedge retry", "hedge-outside-retry"),
    ("chaos_latency timeout", "chaos-not-innermost"),
)


@pytest.mark.parametrize("order", [CLEAN, "", "retry", "chaos_fault chaos_latency", "deadline timeout retry timeout"])
def test_usual_orders_are_clean(order: str) -> None:
    assert _rules(order) == []


@pytest.mark.parametrize(("order", "rule"), FOUND)
def test_each_rule_finds_its_order(order: str, rule: str) -> None:
    assert _rules(order) == [rule]
    assert rule in _rules(f"load_shedder {order}"), "also with something around it"


@pytest.mark.parametrize(("order", "rule"), FOUND)
def test_the_other_way_round_is_clean_of_it(order: str, rule: str) -> None:
    if rule != "two-retries":
        assert rule not in _rules(" ".join(reversed(order.split())))


def test_every_rule_is_tested_and_says_why_and_the_way_out() -> None:
    assert {rule for _, rule in FOUND} == {rule.name for rule in RULES}
    assert all(rule.what and rule.why and rule.way_out for rule in RULES)


def test_the_rules_speak_of_kinds_that_there_are() -> None:
    assert {kind for order, _ in FOUND for kind in order.split()} | set(CHAOS) | set(CLEAN.split()) <= set(KINDS)


def test_a_hedge_around_something_not_idempotent() -> None:
    @dataclass(frozen=True)
    class Hedge(Named):
        idempotent: bool

    assert findings([Hedge("hedge", True)]) == ()
    assert [finding.rule for finding in findings([Hedge("hedge", False)])] == ["hedge-not-idempotent"]


def test_a_finding_is_a_sentence() -> None:
    assert str(findings([Named("retry"), Named("fallback")])[0]) == (
        "fallback inside retry: the fallback answers the first failure, so nothing is ever tried again; "
        "put fallback outermost (fallback-inside-retry)"
    )


@pytest.mark.skipif(not hasattr(policy_module, "PolicyOrderWarning"), reason="policy.py does not call the lint yet")
def test_a_policy_warns_where_it_is_made_unless_told_not_to() -> None:
    specs = ChaosFault(OSError, rate=0.5), Retry(on=OSError)
    with pytest.warns(PolicyOrderWarning, match="chaos-not-innermost") as caught:
        Policy("p", *specs)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Policy("p", *specs, lint=False)  # type: ignore[call-arg, unused-ignore]
