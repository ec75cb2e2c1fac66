"""Breaker alone; consecutive failures, no lock, every waiting call let through when half-open."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import aiobreaker  # type: ignore[import-not-found]


def _breaker() -> Any:  # noqa: ANN401 - of a library without types here
    return aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(hours=1))


SYNC: dict[str, Callable[[], Any]] = {"breaker": _breaker}
ASYNC = SYNC
