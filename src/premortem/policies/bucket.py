"""A token bucket, kept as the time at which it will be full again: exact, and never above its burst.

The generic cell rate algorithm (ITU-T I.371): with one token every T seconds, `tat` (theoretical arrival time) moves
on by T for each token; n tokens are to be had at t when tat + n*T <= t + burst*T. So any window of w seconds lets at
most burst + w/T tokens out. `tat` is a start and a whole number of tokens, so no rounding error adds up.
"""

from __future__ import annotations

import heapq
import threading

from premortem.policies import checks
from premortem.policies.timing import TIME

_ROUNDING_S = 1e-9  # a sleeper that comes back exactly in time must not be sent away for a rounding error


class TokenBucket:
    """`rate_per_s` tokens a second, at most `burst` at once; full at first. Thread-safe."""

    __slots__ = ("_issued", "_lock", "_returned", "_start", "burst", "interval_s")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self.interval_s = 1 / checks.number("TokenBucket.rate_per_s", rate_per_s, 0, 10_000_000, "a second", above=True)
        self.burst = checks.whole("TokenBucket.burst", burst, 1, 1_000_000, "tokens")
        # Reentrant: the collector may close a forgotten coroutine that has booked in the midst of anything.
        self._lock = threading.RLock()
        self._start = TIME.monotonic()
        self._issued = 0  # since `_start`
        self._returned: list[float] = []  # moments that were booked and given back, a heap

    def try_acquire(self, n: int = 1) -> float:
        """Take `n` tokens and return 0; or take none, and return the seconds until there would be as many."""
        checks.whole("TokenBucket.try_acquire(n)", n, 1, self.burst, "tokens, the burst")
        with self._lock:
            wait_s = self._wait_s(n, TIME.monotonic())
            if wait_s <= 0:
                self._issued += n
            return wait_s

    def take(self) -> None:
        """Take one token; IndexError when there is none, as from a deque of them."""
        with self._lock:
            if self._wait_s(1, TIME.monotonic()) > 0:
                raise IndexError("no token")
            self._issued += 1

    def take_up_to(self, n: int) -> int:
        """Take as many tokens as there are, at most `n`; returns how many."""
        with self._lock:
            missing_s = self._wait_s(n, TIME.monotonic())
            if missing_s > 0:
                n -= -int(-missing_s // self.interval_s)  # rounded up: a token that is not whole is none
            if n <= 0:
                return 0
            self._issued += n
            return n

    def book(self, wait_limit_s: float) -> tuple[float, float | None]:
        """Book the next token: seconds until it is there, and its moment, for `give_back`.

        The moment is None, and nothing is booked, when the seconds exceed `wait_limit_s`. Bookings are served in order.
        """
        with self._lock:
            now = TIME.monotonic()
            while self._returned and self._returned[0] <= now:
                heapq.heappop(self._returned)  # past: whoever booked it is gone, and nobody took it over
            if self._returned:
                moment = self._returned[0]
                if moment - now > wait_limit_s + _ROUNDING_S:
                    return moment - now, None
                return moment - now, heapq.heappop(self._returned)
            wait_s = self._wait_s(1, now)
            if wait_s > wait_limit_s + _ROUNDING_S:
                return wait_s, None
            self._issued += 1
            return wait_s, now + wait_s

    def give_back(self, moment: float) -> None:
        """Give back a booked moment that is still to come, for the next who books.

        The bucket does not simply take the token back: those who booked behind it would then share their moment with
        newcomers, which is more than the burst allows.
        """
        with self._lock:
            heapq.heappush(self._returned, moment)

    def available(self) -> int:
        """Whole tokens that are there now."""
        with self._lock:
            behind_s = self._behind_s(TIME.monotonic())
            return max(0, int(self.burst - behind_s / self.interval_s + _ROUNDING_S))

    def _wait_s(self, n: int, now: float) -> float:
        wait_s = self._behind_s(now) - (self.burst - n) * self.interval_s
        return wait_s if wait_s > _ROUNDING_S else 0.0

    def _behind_s(self, now: float) -> float:
        """Seconds until the bucket is full; a full one starts anew."""
        self._start = min(self._start, now)  # a test's time may be over, and the real one earlier
        behind_s = self._start + self._issued * self.interval_s - now
        if behind_s > 0:
            return behind_s
        self._start, self._issued = now, 0
        return 0.0
