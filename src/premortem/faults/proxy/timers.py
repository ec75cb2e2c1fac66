"""What is to be done later: a heap, and one timer of the kernel that wakes the loop for the earliest.

Laws:
- Never early: what is due is done when the monotonic clock has passed that moment, not when somebody woke up.
- The kernel wakes us `SPIN_S` before; the rest is waited for awake. That takes the wake-up of an idle CPU, which is
  what makes a delay late, out of it.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections.abc import Callable
from time import monotonic

SPIN_S = 0.0003
_AHEAD_S = 0.00025  # less, so that the wake-up falls within the spin
_TFD_NONBLOCK, _TFD_CLOEXEC = 0o4000, 0o2000000  # linux/timerfd.h
_NS = 1_000_000_000
_LONGEST_S = 86400.0

Do = Callable[[], None]


class Timers:
    """`call_at`, and in each round of the loop `run` and then `sleep`."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Do, bool]] = []
        self._count = 0
        self._alarm: Alarm | None = None
        self._set_for = 0.0

    def call_at(self, due: float, do: Do, *, sharp: bool = True) -> None:
        """Do this at the monotonic time `due`, or soon after it; nobody stays awake for one not `sharp`."""
        self._count += 1
        heapq.heappush(self._heap, (due, self._count, do, sharp))

    def run(self) -> None:
        """Do what is due."""
        heap, now = self._heap, monotonic()
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)[2]()

    def sleep(self) -> bool:
        """Set the kernel's timer for the earliest. Whether there is time to sleep: False means to stay awake."""
        if not self._heap:
            return True
        due, _, _, sharp = self._heap[0]
        if due - monotonic() <= (SPIN_S if sharp else 0):
            return False
        if self._alarm is not None and due != self._set_for:
            self._alarm.set(min(due - _AHEAD_S if sharp else due, monotonic() + _LONGEST_S))
            self._set_for = due
        return True

    @property
    def used(self) -> bool:
        """Whether anything was ever asked for, so that an alarm is needed."""
        return bool(self._heap)

    def wake_by(self, alarm: Alarm) -> None:
        """From now on this wakes the loop."""
        self._alarm = alarm


class Alarm:
    """A timerfd: readable from the time it is set for. Linux alone."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 13):
            from time import CLOCK_MONOTONIC  # noqa: PLC0415 - not on every system

            self.fd = os.timerfd_create(CLOCK_MONOTONIC, flags=os.TFD_NONBLOCK | os.TFD_CLOEXEC)
        else:
            self._old()

    def _old(self) -> None:
        """As Python 3.13 does it, by way of the C library."""
        import ctypes  # noqa: PLC0415 - a megabyte that 3.13 does without

        class Timerspec(ctypes.Structure):
            _fields_ = tuple((name, ctypes.c_long) for name in ("again_s", "again_ns", "first_s", "first_ns"))

        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.timerfd_create(1, _TFD_NONBLOCK | _TFD_CLOEXEC)  # 1: CLOCK_MONOTONIC
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = Timerspec()
        self._by_reference = ctypes.byref(self._spec)
        self._settime = libc.timerfd_settime

    def set(self, at: float) -> None:
        """Readable from the monotonic time `at` on, and not before."""
        ns = max(1, int(at * _NS))
        if sys.version_info >= (3, 13):
            os.timerfd_settime_ns(self.fd, flags=os.TFD_TIMER_ABSTIME, initial=ns)
        else:
            self._spec.first_s, self._spec.first_ns = divmod(ns, _NS)
            self._settime(self.fd, 1, self._by_reference, None)  # 1: TFD_TIMER_ABSTIME
