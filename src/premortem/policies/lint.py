"""What is odd about the order of a policy's layers, and what it will do that its author may not expect.

Rules are rows of a table. A finding is a warning and no error: some orders that surprise are meant, and then
`Policy(..., lint=False)` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from premortem.policies.layer import Spec

CHAOS = ("chaos_fault", "chaos_latency", "chaos_outcome", "chaos_behaviour")


class PolicyOrderWarning(UserWarning):
    """The layers of a policy stand in an order that does something unexpected."""


@dataclass(frozen=True, slots=True)
class Finding:
    """`rule` names the row of the table; `what` stands how, `why` it matters, and the `way_out`."""

    rule: str
    what: str
    why: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.what}: {self.why}; {self.way_out} ({self.rule})"


Kinds = Sequence[str]


@dataclass(frozen=True, slots=True)
class Rule:
    """A row: when `applies` to the kinds of a policy, from the outside in, this is what to say."""

    name: str
    applies: Callable[[Kinds], bool]
    what: str
    why: str
    way_out: str


def _outside(outer: str, inner: str) -> Callable[[Kinds], bool]:
    """Whether every `outer` there is stands outside of every `inner`."""
    return lambda kinds: outer in kinds and inner in kinds and _last(kinds, outer) < kinds.index(inner)


def _last(kinds: Kinds, kind: str) -> int:
    return len(kinds) - 1 - list(reversed(kinds)).index(kind)


def _timeout_for_all(kinds: Kinds) -> bool:
    return _outside("timeout", "retry")(kinds) and "deadline" not in kinds


def _chaos_is_covered(kinds: Kinds) -> bool:
    chaos = [place for place, kind in enumerate(kinds) if kind in CHAOS]
    return bool(chaos) and any(kind not in CHAOS for kind in kinds[chaos[0] :])


RULES = (
    Rule(
        "retry-inside-breaker",
        _outside("circuit_breaker", "retry"),
        "circuit_breaker outside retry",
        "it hears of a call only when all attempts have failed, so it opens later, and a probe is several calls",
        "put retry outside, so that each attempt counts and an open breaker ends the attempts",
    ),
    Rule(
        "timeout-outside-retry",
        _timeout_for_all,
        "timeout outside retry, without a deadline",
        "one timeout is for all attempts and the waits between them, so a first attempt that hangs leaves no second",
        "put timeout inside retry, and a deadline outside for all of it",
    ),
    Rule(
        "timeout-outside-breaker",
        _outside("timeout", "circuit_breaker"),
        "timeout outside circuit_breaker",
        "a call that is timed out looks cancelled from inside, which never counts, so what hangs never opens it",
        "put timeout inside circuit_breaker",
    ),
    Rule(
        "rate-limiter-outside-retry",
        _outside("rate_limiter", "retry"),
        "rate_limiter outside retry",
        "further attempts do not count, so the dependency sees more than the rate",
        "put rate_limiter inside retry",
    ),
    Rule(
        "bulkhead-outside-retry",
        _outside("bulkhead", "retry"),
        "bulkhead outside retry",
        "a permit is held while waiting for the next attempt, so few calls that retry take all permits",
        "put bulkhead inside retry",
    ),
    Rule(
        "adaptive-concurrency-outside-retry",
        _outside("adaptive_concurrency", "retry"),
        "adaptive_concurrency outside retry",
        "it takes the waits between attempts for latency, and lowers its limit",
        "put adaptive_concurrency inside retry",
    ),
    Rule(
        "fallback-inside-retry",
        _outside("retry", "fallback"),
        "fallback inside retry",
        "the fallback answers the first failure, so nothing is ever tried again",
        "put fallback outermost",
    ),
    Rule(
        "fallback-inside-breaker",
        _outside("circuit_breaker", "fallback"),
        "fallback inside circuit_breaker",
        "the breaker sees the fallback's answer and no failure, so it never opens",
        "put fallback outermost",
    ),
    Rule(
        "two-retries",
        lambda kinds: kinds.count("retry") > 1,
        "two retries",
        "their attempts multiply, as far as they are not collapsed",
        "keep one, with the attempts of both",
    ),
    Rule(
        "deadline-inside-retry",
        _outside("retry", "deadline"),
        "deadline inside retry",
        "each attempt gets the whole time again, and an error of a deadline is never tried again",
        "put deadline outside retry, and a timeout inside",
    ),
    Rule(
        "hedge-outside-retry",
        _outside("hedge", "retry"),
        "hedge outside retry",
        "each of its calls makes all the attempts, so they multiply",
        "put hedge inside retry",
    ),
    Rule(
        "chaos-not-innermost",
        _chaos_is_covered,
        "chaos outside another layer",
        "what stands inside of it never meets what it injects",
        "put chaos last",
    ),
)


def findings(specs: Sequence[Spec]) -> tuple[Finding, ...]:
    """What is odd about the order of `specs`, the first outermost; nothing for most."""
    kinds = [spec.kind for spec in specs]
    found = [Finding(rule.name, rule.what, rule.why, rule.way_out) for rule in RULES if rule.applies(kinds)]
    return (*found, *(_not_idempotent(spec) for spec in specs if getattr(spec, "idempotent", True) is not True))


def _not_idempotent(spec: Spec) -> Finding:
    return Finding(
        "hedge-not-idempotent",
        f"{spec.kind} around something that is not said to be idempotent",
        "the same call may be made twice",
        f"say idempotent=True where that does no harm, or leave {spec.kind} out",
    )
