"""At most so many calls per time, because the other side counts: a token bucket, never above its burst.

Tokens are leased from the bucket in lots, so that the happy path is one pop from a deque, without a lock or a clock.
What is leased counts against the burst (the bucket holds the burst less one lot), so that no window ever sees more than
`burst` calls plus the rate. The price: after an idle time the burst may be up to one lot, an eighth, smaller.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from premortem.events import emit
from premortem.policies import ambient, checks
from premortem.policies.bucket import TokenBucket
from premortem.policies.rejections import RateLimitedError
from premortem.policies.timing import TIME

_LOT, _LOTS = 64, 8  # a lot is at most 64 tokens, and at most an eighth of the burst
_A_SECOND = 1e-6, 1e6  # calls: from one in eleven days to more than Python can make


@dataclass(frozen=True, slots=True)
class RateLimiter:
    """`rate` calls per `per_s` seconds, and up to `burst` at once (0: as many as `rate`, at least 1).

    A call beyond that is rejected with the seconds after which to try again, or waits its turn where that takes no more
    than `wait_s` seconds. No waiting is the default, since who waits holds a thread, a connection and a user.
    """

    kind: ClassVar[str] = "rate_limiter"

    rate: float
    per_s: float = 1.0
    burst: int = 0
    wait_s: float = 0.0

    def __post_init__(self) -> None:
        checks.number("RateLimiter.rate", self.rate, 0, 1_000_000, "calls", above=True)
        checks.seconds("RateLimiter.per_s", self.per_s, high=86_400)
        checks.number("RateLimiter.rate / per_s", self.rate / self.per_s, *_A_SECOND, "calls a second")
        checks.whole("RateLimiter.burst", self.burst, 0, 1_000_000, "calls")
        checks.number("RateLimiter.wait_s", self.wait_s, 0, 3600, "seconds")
        if not self.burst:
            object.__setattr__(self, "burst", max(1, int(self.rate)))

    def layer(self, policy: str) -> RateLimiterLayer:
        """As `layer.Spec`."""
        return RateLimiterLayer(self, policy)


@dataclass(frozen=True, slots=True)
class RateSnapshot:
    """Calls that would be let in at this moment, out of the burst."""

    available: int
    burst: int


class RateLimiterLayer:
    """Takes a token per call; nothing is given back, however the call ends: the other side has counted it.

    `token`, `refill` and `refill_async` are for callers that take the happy path inline.
    """

    __slots__ = ("_lease", "_lock", "_lot", "bucket", "policy", "spec", "token")

    def __init__(self, spec: RateLimiter, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self._lot = min(_LOT, spec.burst // _LOTS)
        if self._lot == 1:
            self._lot = 0  # a lot of one token saves nothing
        self.bucket = TokenBucket(spec.rate / spec.per_s, spec.burst - self._lot)
        self._lease: deque[None] = deque([None] * self._lot)
        self._lock = threading.RLock()  # reentrant: the collector may run somebody's `finally` in between
        self.token: Callable[[], None] = self._lease.pop if self._lot else self.bucket.take
        """Take a token; IndexError when the lease is used up. Of a lease that is atomic: one call into C."""

    def enter(self) -> None:
        """As `layer.Admission`; raises RateLimitedError."""
        try:
            self.token()
        except IndexError:
            self.refill()

    async def enter_async(self) -> None:
        """As `layer.Admission`; raises RateLimitedError."""
        try:
            self.token()
        except IndexError:
            await self.refill_async()

    def leave(self, permit: None, error: BaseException | None) -> None:
        """As `layer.Admission`: there is nothing to give back."""

    def refill(self) -> None:
        """The lease is used up: get a token for this call, waiting in its thread, or raise RateLimitedError."""
        moment = self._booked()
        if moment is not None and (wait_s := moment - TIME.monotonic()) > 0:
            try:
                TIME.sleep(wait_s)
            except BaseException:
                self.bucket.give_back(moment)
                raise

    async def refill_async(self) -> None:
        """The same in a task, without blocking its loop."""
        moment = self._booked()
        if moment is not None and (wait_s := moment - TIME.monotonic()) > 0:
            try:
                await TIME.sleep_async(wait_s)
            except BaseException:
                self.bucket.give_back(moment)
                raise

    def snapshot(self) -> RateSnapshot:
        """What would be let in now."""
        return RateSnapshot(len(self._lease) + self.bucket.available(), self.spec.burst)

    def _booked(self) -> float | None:
        """None: this call has its token. Else the moment until which it has to wait."""
        with self._lock:  # so that two who find the lease empty do not fill it twice
            try:
                self.token()
            except IndexError:
                granted = self.bucket.take_up_to(self._lot) if self._lot else 0
            else:
                return None
            if granted:
                self._lease.extend([None] * (granted - 1))
                return None
        limit_s = ambient.clamped(self.spec.wait_s)
        wait_s, moment = self.bucket.book(limit_s)
        if moment is not None:
            return moment
        emit("policy.rate_limited", policy=self.policy, wait_s=wait_s, limit_s=limit_s)
        allowed = f"{self.spec.rate:g} calls per {self.spec.per_s:g} s are used up"
        raise RateLimitedError(self.policy, allowed, wait_s)
