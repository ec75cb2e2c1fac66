"""One decorator with its own order (breaker, rate, bulkhead, retry, timeout); counts consecutive failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pyresilience import (  # type: ignore[import-not-found]
    BulkheadConfig,
    CircuitBreakerConfig,
    RateLimiterConfig,
    RetryConfig,
    TimeoutConfig,
    resilient,
)

_RETRY = RetryConfig(max_attempts=3, delay=0, jitter=False, retry_on=(ValueError,))
_BREAKER = CircuitBreakerConfig(failure_threshold=5, recovery_timeout=3600, success_threshold=1)
_BULKHEAD = BulkheadConfig(max_concurrent=100)
_RATE = RateLimiterConfig(max_calls=1_000_000, period=1)
_TIMEOUT = TimeoutConfig(seconds=30)
_STACK = {"retry": _RETRY, "circuit_breaker": _BREAKER, "rate_limiter": _RATE, "bulkhead": _BULKHEAD}

SYNC: dict[str, Callable[[], Any]] = {
    "retry": lambda: resilient(retry=_RETRY),
    "breaker": lambda: resilient(circuit_breaker=_BREAKER),
    "bulkhead": lambda: resilient(bulkhead=_BULKHEAD),
    "rate": lambda: resilient(rate_limiter=_RATE),
    "stack": lambda: resilient(**_STACK),
}
ASYNC = {
    **SYNC,
    "timeout": lambda: resilient(timeout=_TIMEOUT),
    "full": lambda: resilient(**_STACK, timeout=_TIMEOUT),
}
