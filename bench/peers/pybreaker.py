"""Breaker alone, synchronous (asynchronous only with Tornado); counts consecutive failures, not those of a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pybreaker  # type: ignore[import-not-found]

SYNC: dict[str, Callable[[], Any]] = {
    "breaker": lambda: pybreaker.CircuitBreaker(fail_max=5, reset_timeout=3600),
}
ASYNC: dict[str, Callable[[], Any]] = {}
