"""All five policies; its breaker measures a rate (half of at least 5 calls in 30 s), where ours counts failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nopanic  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return nopanic.retry(3, on=ValueError, backoff=0)


def _breaker() -> Any:  # noqa: ANN401 - as above
    return nopanic.circuit_breaker(failure_threshold=0.5, min_calls=5, window=30, reset_timeout=3600)


def _bulkhead() -> Any:  # noqa: ANN401 - as above
    return nopanic.bulkhead(100, max_wait=0)


def _rate() -> Any:  # noqa: ANN401 - as above
    return nopanic.rate_limit(1_000_000, 1, max_wait=0)


SYNC: dict[str, Callable[[], Any]] = {
    "retry": _retry,
    "breaker": _breaker,
    "bulkhead": _bulkhead,
    "rate": _rate,
    "stack": lambda: nopanic.compose(_retry(), _breaker(), _rate(), _bulkhead()),
}
ASYNC = {
    **SYNC,
    "timeout": lambda: nopanic.timeout(30),
    "full": lambda: nopanic.compose(_retry(), _breaker(), _rate(), _bulkhead(), nopanic.timeout(30)),
}
