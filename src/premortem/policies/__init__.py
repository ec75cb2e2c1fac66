"""The resilience library: policies that a production service imports, on the standard library alone.

A name is loaded when it is first used: a service pays at its start for the policies that it has.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from premortem.policies.adaptive import AdaptiveConcurrency
    from premortem.policies.ambient import remaining_s
    from premortem.policies.breaker import CircuitBreaker
    from premortem.policies.budget import RetryBudget
    from premortem.policies.bulkhead import Bulkhead
    from premortem.policies.chaos import ChaosBehaviour, ChaosFault, ChaosLatency, ChaosOutcome
    from premortem.policies.data import policies_from_toml, policy_from_data, policy_to_data
    from premortem.policies.fallback import Fallback
    from premortem.policies.hedging import Hedge
    from premortem.policies.lint import PolicyOrderWarning
    from premortem.policies.policy import Policy
    from premortem.policies.priority import priority
    from premortem.policies.rate_limiter import RateLimiter
    from premortem.policies.rejections import (
        AttemptTimeoutError,
        BulkheadFullError,
        CircuitOpenError,
        DeadlineExceededError,
        OverloadedError,
        RateLimitedError,
        RejectedError,
        TimeLimitError,
    )
    from premortem.policies.retry import Retry
    from premortem.policies.shedding import LoadShedder
    from premortem.policies.single_flight import SingleFlight
    from premortem.policies.stale import StaleCache
    from premortem.policies.timeouts import Deadline, Timeout
    from premortem.policies.waits import Backoff, Fixed
    from premortem.policies.windows import Consecutive, FailuresWithin, RateOfLast, RateWithin, SlowCalls

_HOMES = {
    "AdaptiveConcurrency": "adaptive",
    "AttemptTimeoutError": "rejections",
    "Backoff": "waits",
    "Bulkhead": "bulkhead",
    "BulkheadFullError": "rejections",
    "ChaosBehaviour": "chaos",
    "ChaosFault": "chaos",
    "ChaosLatency": "chaos",
    "ChaosOutcome": "chaos",
    "CircuitBreaker": "breaker",
    "CircuitOpenError": "rejections",
    "Consecutive": "windows",
    "Deadline": "timeouts",
    "DeadlineExceededError": "rejections",
    "FailuresWithin": "windows",
    "Fallback": "fallback",
    "Fixed": "waits",
    "Hedge": "hedging",
    "LoadShedder": "shedding",
    "OverloadedError": "rejections",
    "Policy": "policy",
    "PolicyOrderWarning": "lint",
    "RateLimitedError": "rejections",
    "RateLimiter": "rate_limiter",
    "RateOfLast": "windows",
    "RateWithin": "windows",
    "RejectedError": "rejections",
    "Retry": "retry",
    "RetryBudget": "budget",
    "SingleFlight": "single_flight",
    "SlowCalls": "windows",
    "StaleCache": "stale",
    "TimeLimitError": "rejections",
    "Timeout": "timeouts",
    "policies_from_toml": "data",
    "policy_from_data": "data",
    "policy_to_data": "data",
    "priority": "priority",
    "remaining_s": "ambient",
}

__all__ = [
    "AdaptiveConcurrency",
    "AttemptTimeoutError",
    "Backoff",
    "Bulkhead",
    "BulkheadFullError",
    "ChaosBehaviour",
    "ChaosFault",
    "ChaosLatency",
    "ChaosOutcome",
    "CircuitBreaker",
    "CircuitOpenError",
    "Consecutive",
    "Deadline",
    "DeadlineExceededError",
    "FailuresWithin",
    "Fallback",
    "Fixed",
    "Hedge",
    "LoadShedder",
    "OverloadedError",
    "Policy",
    "PolicyOrderWarning",
    "RateLimitedError",
    "RateLimiter",
    "RateOfLast",
    "RateWithin",
    "RejectedError",
    "Retry",
    "RetryBudget",
    "SingleFlight",
    "SlowCalls",
    "StaleCache",
    "TimeLimitError",
    "Timeout",
    "policies_from_toml",
    "policy_from_data",
    "policy_to_data",
    "priority",
    "remaining_s",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
