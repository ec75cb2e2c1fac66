"""No rate limiter, so its stacks have one policy less; they are its quickest: one flat policy around the breaker."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from resilix import protect  # type: ignore[import-not-found]


def _retry() -> Any:  # noqa: ANN401 - of a library without types here
    return protect.when(ValueError, retry=3, delay=0)


def _breaker() -> Any:  # noqa: ANN401 - as above
    return protect.circuit(failures=5, reset_timeout=3600, window=30)


def _bulkhead() -> Any:  # noqa: ANN401 - as above
    return protect.bulkhead(100, wait=False)


def _timeout() -> Any:  # noqa: ANN401 - as above
    return protect.timeout(30)


def _nested(*decorators: Any) -> Any:  # noqa: ANN401 - as above
    """The first one outermost."""
    return lambda function: functools.reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


SYNC: dict[str, Callable[[], Any]] = {
    "retry": _retry,
    "breaker": _breaker,
    "bulkhead": _bulkhead,
    # The permit is held over all attempts: retry and bulkhead are merged into one frame.
    "stack": lambda: _nested(_retry(), _bulkhead(), _breaker()),
}
ASYNC = {
    **SYNC,
    "timeout": _timeout,
    "full": lambda: _nested(_retry(), _bulkhead(), _timeout(), _breaker()),
}
