"""A limit on retries as a share of traffic: retries must not multiply the load of a dependency that is down.

`RetryBudget(share=0.2, floor_per_s=10)` pays for a retry from what calls have put in: each call a fifth of one, and ten
a second for nothing, so that quiet services may retry at all. Both run off after `window_s` seconds. One budget may
serve many policies, and retries and hedges alike. Prior art: Finagle's RetryBudget, whose defaults these are.
"""

from __future__ import annotations

import threading
from collections import deque

from premortem.policies import checks
from premortem.policies.timing import TIME


class RetryBudget:
    """Thread-safe; shared by handing the same object to several specs."""

    __slots__ = ("_calls", "_lock", "_spent", "deposit", "floor_per_s", "share", "window_s")

    def __init__(self, share: float = 0.2, floor_per_s: float = 10.0, window_s: float = 10.0) -> None:
        self.share = checks.number("RetryBudget.share", share, 0, 1)
        self.floor_per_s = checks.number("RetryBudget.floor_per_s", floor_per_s, 0, 10_000, "a second")
        self.window_s = checks.seconds("RetryBudget.window_s", window_s, low=1)
        self._lock = threading.Lock()
        self._calls: deque[float] = deque()
        self._spent: deque[float] = deque()
        append, clock = self._calls.append, TIME

        def deposit() -> None:
            append(clock.monotonic())

        self.deposit = deposit
        """Note that a call was made: one append, without a lock."""

    def withdraw(self) -> bool:
        """Pay for one retry or hedge; False when the budget does not allow it."""
        with self._lock:
            horizon = TIME.monotonic() - self.window_s
            for marks in (self._calls, self._spent):
                while marks and marks[0] < horizon:
                    marks.popleft()
            allowed = len(self._calls) * self.share + self.floor_per_s * self.window_s
            if len(self._spent) + 1 > allowed:
                return False
            self._spent.append(TIME.monotonic())
            return True
