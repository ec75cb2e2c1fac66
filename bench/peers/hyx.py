"""Asynchronous only; consecutive failures; its token bucket is refilled only when it is empty. All five policies."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from hyx.bulkhead import bulkhead  # type: ignore[import-not-found]
from hyx.circuitbreaker import consecutive_breaker  # type: ignore[import-not-found]
from hyx.ratelimit import tokenbucket  # type: ignore[import-not-found]
from hyx.retry import retry  # type: ignore[import-not-found]
from hyx.timeout import timeout  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return retry(on=ValueError, attempts=2, backoff=0)  # it counts the attempts after the first


def _breaker() -> Any:  # noqa: ANN401 - as above
    return consecutive_breaker(failure_threshold=5, recovery_time_secs=3600, recovery_threshold=1)


def _rate() -> Any:  # noqa: ANN401 - as above
    return tokenbucket(1_000_000, 1)


def _bulkhead() -> Any:  # noqa: ANN401 - as above
    return bulkhead(100, 100)


def _timeout() -> Any:  # noqa: ANN401 - as above
    return timeout(30)


def _nested(*decorators: Any) -> Any:  # noqa: ANN401 - as above
    """The first one outermost."""
    return lambda function: functools.reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


SYNC: dict[str, Callable[[], Any]] = {}
ASYNC: dict[str, Callable[[], Any]] = {
    "retry": _retry,
    "breaker": _breaker,
    "bulkhead": _bulkhead,
    "rate": _rate,
    "timeout": _timeout,
    "stack": lambda: _nested(_retry(), _breaker(), _rate(), _bulkhead()),
    "full": lambda: _nested(_retry(), _breaker(), _rate(), _bulkhead(), _timeout()),
}
