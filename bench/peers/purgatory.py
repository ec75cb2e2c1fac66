"""Breaker alone, by its decorator; consecutive failures, no lock, every waiting call let through when half-open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import purgatory  # type: ignore[import-not-found]

SYNC: dict[str, Callable[[], Any]] = {
    "breaker": lambda: purgatory.SyncCircuitBreakerFactory(default_threshold=5, default_ttl=3600)("bench"),
}
ASYNC: dict[str, Callable[[], Any]] = {
    "breaker": lambda: purgatory.AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=3600)("bench"),
}
