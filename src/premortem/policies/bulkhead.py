"""At most so many calls at a time, so that one slow dependency cannot take all threads and connections with it.

One limit for everything that a policy decorates: threads and the tasks of any number of event loops together. Prior
art: resilience4j's Bulkhead, Polly's concurrency limiter, whose defaults (no waiting) these are; M. Nygard, "Release
It!", where the name comes from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import ambient, checks
from premortem.policies.permits import Permits, PermitsSnapshot
from premortem.policies.rejections import BulkheadFullError


@dataclass(frozen=True, slots=True)
class Bulkhead:
    """`permits` calls at a time; further ones wait up to `wait_s` seconds in a queue of at most `queue_limit`.

    By default nobody waits: a queue in front of something slow makes everything in front of it slow, too. `permits`
    goes up to 5,000: more calls in flight than that are no limit any more.
    """

    kind: ClassVar[str] = "bulkhead"

    permits: int
    wait_s: float = 0.0
    queue_limit: int = 100

    def __post_init__(self) -> None:
        checks.whole("Bulkhead.permits", self.permits, 1, 5_000, "calls at a time")
        checks.number("Bulkhead.wait_s", self.wait_s, 0, 3600, "seconds")
        checks.whole("Bulkhead.queue_limit", self.queue_limit, 0, 100_000, "waiting calls")
        if self.wait_s and not self.queue_limit:
            raise ConfigurationError(
                f"Bulkhead.queue_limit = 0 with wait_s = {self.wait_s:g}: a call that may wait needs a place to wait "
                "in; leave one of the two out"
            )

    def layer(self, policy: str) -> BulkheadLayer:
        """As `layer.Spec`."""
        return BulkheadLayer(self, policy)


class BulkheadLayer:
    """Takes a permit and gives it back, however the call ends: it counts nothing.

    `take`, `give`, `waiters`, `wake`, `full` and `full_async` are for callers that take the happy path inline.
    """

    __slots__ = ("give", "permits", "policy", "spec", "take", "waiters", "wake")

    def __init__(self, spec: Bulkhead, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.permits = Permits(spec.permits, spec.queue_limit)
        self.take = self.permits.take
        self.give = self.permits.give
        self.waiters = self.permits.waiters
        self.wake = self.permits.wake

    def enter(self) -> None:
        """As `layer.Admission`; raises BulkheadFullError."""
        try:
            self.take()
        except IndexError:
            self.full()

    async def enter_async(self) -> None:
        """As `layer.Admission`; raises BulkheadFullError."""
        try:
            self.take()
        except IndexError:
            await self.full_async()

    def leave(self, permit: None, error: BaseException | None) -> None:  # noqa: ARG002 - it ends alike with any error
        """As `layer.Admission`."""
        self.give(permit)
        if self.waiters:
            self.wake()

    def full(self) -> None:
        """No permit was free: wait for one in a thread, or raise BulkheadFullError."""
        wait_s = ambient.clamped(self.spec.wait_s)
        if not self.permits.acquire(wait_s):
            raise self._rejection(wait_s)

    async def full_async(self) -> None:
        """The same in a task."""
        wait_s = ambient.clamped(self.spec.wait_s)
        if not await self.permits.acquire_async(wait_s):
            raise self._rejection(wait_s)

    def snapshot(self) -> PermitsSnapshot:
        """How many permits are in use and waited for."""
        return self.permits.snapshot()

    def _rejection(self, wait_s: float) -> BulkheadFullError:
        return rejection(self.policy, self.permits, wait_s)


def rejection(policy: str, permits: Permits, wait_s: float) -> BulkheadFullError:
    """Say that nothing came free within `wait_s` seconds: the event, and the error to raise."""
    now = permits.snapshot()
    emit("policy.bulkhead_full", policy=policy, limit=now.limit, waiting=now.waiting, wait_s=wait_s)
    waited = f", and none came free within {wait_s:.3g} s" if wait_s else ""
    if wait_s and now.waiting >= permits.queue_limit:
        waited = f", and the queue of {permits.queue_limit} is full"
    return BulkheadFullError(policy, f"all {now.limit} permits are taken{waited}")
