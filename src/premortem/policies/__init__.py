"""The resilience library: policies that a production service imports, on the standard library alone."""

from premortem.policies.budget import RetryBudget
from premortem.policies.policy import Policy
from premortem.policies.retry import Retry
from premortem.policies.waits import Backoff, Fixed

__all__ = ["Backoff", "Fixed", "Policy", "Retry", "RetryBudget"]
