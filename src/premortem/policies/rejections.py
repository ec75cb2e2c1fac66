"""What a caller gets when a policy does not let a call through, or ends it: why, and when to come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from premortem.errors import PremortemError


class RejectedError(PremortemError):
    """The call did not reach the function. `policy` says whose, `retry_after_s` when it is worth trying again.

    `retry_after_s` is in seconds, None where nobody knows.
    """

    # A rejection has to cost less than the call that it spares: it is made by C code alone, and read when it is read.
    if TYPE_CHECKING:

        def __init__(self, policy: str, reason: str, retry_after_s: float | None = None) -> None: ...

    @property
    def policy(self) -> str:
        """The name of the policy that rejected."""
        return str(self.args[0])

    @property
    def reason(self) -> str:
        """Why, in words."""
        return str(self.args[1])

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which it is worth trying again; None where nobody knows."""
        return self.args[2] if len(self.args) > 2 else None  # noqa: PLR2004 - the third, if it was given

    def __str__(self) -> str:
        again = "" if self.retry_after_s is None else f"; try again in {self.retry_after_s:.3g} s"
        return f"policy {self.policy!r}: {self.reason}{again}"


class CircuitOpenError(RejectedError):
    """The circuit breaker is open, or half-open with all its probes out."""


class BulkheadFullError(RejectedError):
    """All permits are taken, and the queue or the wait for one is over."""


class RateLimitedError(RejectedError):
    """The rate is used up."""


class OverloadedError(RejectedError):
    """Shed: the dependency rejects so much already that this call would be rejected too."""


class TimeLimitError(PremortemError, TimeoutError):
    """A call took longer than a policy allows; `limit_s` seconds.

    It is a TimeoutError, so that code which expects one needs no import of ours; and it is ours, so that a timeout
    of a policy can be told from one of the function.
    """

    def __init__(self, policy: str, limit_s: float) -> None:
        super().__init__(policy, limit_s)
        self.policy = policy
        self.limit_s = limit_s

    def __str__(self) -> str:
        return f"policy {self.policy!r}: {self._what()} of {self.limit_s:.3g} s is over"

    def _what(self) -> str:
        return "the time limit"


class AttemptTimeoutError(TimeLimitError):
    """One attempt took too long; a retry may try again."""

    def _what(self) -> str:
        return "the timeout"


class DeadlineExceededError(TimeLimitError):
    """The time for all of it is over; never retried."""

    def _what(self) -> str:
        return "the deadline"
