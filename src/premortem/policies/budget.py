"""A limit on retries as a share of traffic: retries must not multiply the load of a dependency that is down.

`RetryBudget(share=0.2, floor_per_s=10)` pays for a retry from what calls have put in: each call a fifth of one, and ten
a second for nothing, so that quiet services may retry at all. Both run off after `window_s` seconds. One budget may
serve many policies, and retries and hedges alike. Prior art: Finagle's RetryBudget, whose defaults these are.

A call puts in one step of a counter: no clock, no lock, no memory. How many of the calls fall into the window is
worked out when somebody withdraws, from readings of the counter at earlier withdrawals, straight lines in between.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count

from premortem.policies import checks
from premortem.policies.timing import TIME

_READINGS = 20  # a window: the counter is written down at most this often, so a flood of retries costs no memory


class RetryBudget:
    """Thread-safe; shared by handing the same object to several specs."""

    __slots__ = ("_lock", "_looks", "_readings", "_spent", "_tick", "deposit", "floor_per_s", "share", "window_s")

    deposit: Callable[[], object]
    """Note that a call was made: one step of a counter, atomic in C."""

    def __init__(self, share: float = 0.2, floor_per_s: float = 10.0, window_s: float = 10.0) -> None:
        self.share = checks.number("RetryBudget.share", share, 0, 1)
        self.floor_per_s = checks.number("RetryBudget.floor_per_s", floor_per_s, 0, 10_000, "a second")
        self.window_s = checks.seconds("RetryBudget.window_s", window_s, low=1)
        self._lock = threading.Lock()
        self._tick = count()
        self.deposit = partial(next, self._tick)
        self._looks = 0  # steps that were ours: the counter can only be read by moving it
        self._readings: deque[tuple[float, int]] = deque([(TIME.monotonic(), 0)])
        self._spent: deque[float] = deque()

    def __repr__(self) -> str:
        return f"RetryBudget(share={self.share:g}, floor_per_s={self.floor_per_s:g}, window_s={self.window_s:g})"

    def withdraw(self) -> bool:
        """Pay for one retry or hedge; False when the budget does not allow it."""
        with self._lock:
            now = TIME.monotonic()
            while self._spent and self._spent[0] <= now - self.window_s:
                self._spent.popleft()
            if len(self._spent) + 1 > self._recent_calls(now) * self.share + self.floor_per_s * self.window_s:
                return False
            self._spent.append(now)
            return True

    def _recent_calls(self, now: float) -> float:
        """Calls within the window, between two readings in proportion to time."""
        total = next(self._tick) - self._looks
        self._looks += 1
        readings, horizon = self._readings, now - self.window_s
        while len(readings) > 1 and readings[1][0] <= horizon:  # the last one before the window stays: the line's end
            readings.popleft()
        began, before = readings[0]
        later, after = readings[1] if len(readings) > 1 else (now, total)
        if began < horizon < later:
            before += (after - before) * (horizon - began) / (later - began)  # type: ignore[assignment]
        if len(readings) > 1 and readings[-1][0] - readings[-2][0] < self.window_s / _READINGS:
            readings.pop()  # too close to the one before to be kept
        readings.append((now, total))
        return total - before
