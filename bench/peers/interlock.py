"""No rate limiter, so its stacks have one policy less; retry is tenacity's; its breaker measures a rate of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tenacity  # type: ignore[import-not-found]
from interlock import (  # type: ignore[import-not-found]
    BulkheadStrategy,
    CircuitBreaker,
    CircuitBreakerStrategy,
    Config,
    Pipeline,
    TimeoutStrategy,
)
from interlock.integrations.tenacity import RetryStrategy  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return RetryStrategy(attempts=3, retry=tenacity.retry_if_exception_type(ValueError), wait=tenacity.wait_none())


def _breaker() -> Any:  # noqa: ANN401 - as above
    # Its window over time costs more than the one over calls, which it has by default.
    return CircuitBreaker(name="bench", config=Config(minimum_number_of_calls=5, wait_duration_in_open=3600))


def _stack() -> Any:  # noqa: ANN401 - as above
    return _retry(), CircuitBreakerStrategy(_breaker()), BulkheadStrategy(100)


SYNC: dict[str, Callable[[], Any]] = {
    "retry": lambda: Pipeline(_retry()),
    "breaker": _breaker,
    "bulkhead": lambda: Pipeline(BulkheadStrategy(100)),
    "stack": lambda: Pipeline(*_stack()),
}
ASYNC = {
    **SYNC,
    "timeout": lambda: Pipeline(TimeoutStrategy(30)),
    "full": lambda: Pipeline(*_stack(), TimeoutStrategy(30)),
}
