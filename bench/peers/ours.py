"""One Policy each: `Retry(3)` without a wait, `CircuitBreaker()` as it comes (5 failures in 30 s), 100 permits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from premortem.policies import Fixed, Policy, Retry
from premortem.policies.breaker import CircuitBreaker
from premortem.policies.bulkhead import Bulkhead
from premortem.policies.rate_limiter import RateLimiter
from premortem.policies.timeouts import Timeout


def _retry() -> Retry:
    return Retry(3, on=ValueError, wait=Fixed(0))


def _breaker() -> CircuitBreaker:
    return CircuitBreaker(recovery_s=3600)


def _rate() -> RateLimiter:
    return RateLimiter(1_000_000, per_s=1, burst=1_000_000)


def _stack() -> tuple[Any, ...]:
    return _retry(), _breaker(), _rate(), Bulkhead(100)


SYNC: dict[str, Callable[[], Any]] = {
    "retry": lambda: Policy("bench", _retry()),
    "breaker": lambda: Policy("bench", _breaker()),
    "bulkhead": lambda: Policy("bench", Bulkhead(100)),
    "rate": lambda: Policy("bench", _rate()),
    "stack": lambda: Policy("bench", *_stack()),
}
ASYNC = {
    **SYNC,
    "timeout": lambda: Policy("bench", Timeout(30)),
    "full": lambda: Policy("bench", *_stack(), Timeout(30)),
}
