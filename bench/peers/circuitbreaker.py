"""Breaker alone; counts consecutive failures, takes no lock, lets every waiting call through when half-open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import circuitbreaker  # type: ignore[import-not-found]

SYNC: dict[str, Callable[[], Any]] = {
    "breaker": lambda: circuitbreaker.CircuitBreaker(failure_threshold=5, recovery_timeout=3600),
}
ASYNC = SYNC
