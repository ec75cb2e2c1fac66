"""Reject here what the other side would reject anyway: the adaptive throttling of the SRE book.

B. Beyer et al., "Site Reliability Engineering" (2016), chapter 21 "Handling Overload", client-side throttling: with
`requests` and `accepts` of the last two minutes a call is rejected with probability

    p = max(0, (requests - K * accepts) / (requests + 1))

A request counts when it is over (accepted, refused, or rejected here), so that calls under way are not taken for
refused ones. Among priorities p is a share of all traffic that is taken from below: `sheddable` first, and `critical`
not before all `sheddable` is shed. With one priority alone this is the formula as it stands.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import ClassVar

from premortem.events import emit
from premortem.policies import checks
from premortem.policies.priority import PRIORITIES, Priority, get_level
from premortem.policies.rejections import OverloadedError, RejectedError
from premortem.policies.timing import TIME

_SLICES = 60  # of a window; what is counted is forgotten one slice at a time
_LEVELS = range(len(PRIORITIES))


@dataclass(frozen=True, slots=True)
class LoadShedder:
    """Sheds calls in proportion to those that end with `on`, once less than one in `k` is accepted.

    `k` = 2 and `window_s` = 120 are the book's. Two bounds are ours: below `calls` requests in the window nothing is
    shed (the formula alone would shed half of what follows a single failure), and never more than the share `most` of
    all, so that enough gets through to notice a recovery (at p = requests / (requests + 1) it would be one call in two
    minutes).
    """

    kind: ClassVar[str] = "load_shedder"

    k: float = 2.0
    window_s: float = 120.0
    on: tuple[type[Exception], ...] | type[Exception] = field(default=(ConnectionError, TimeoutError), kw_only=True)
    calls: int = field(default=10, kw_only=True)
    most: float = field(default=0.9, kw_only=True)

    def __post_init__(self) -> None:
        checks.number("LoadShedder.k", self.k, 1, 100, "requests per accepted one")
        checks.seconds("LoadShedder.window_s", self.window_s, low=1)
        object.__setattr__(self, "on", checks.exceptions("LoadShedder.on", self.on))
        checks.whole("LoadShedder.calls", self.calls, 0, 1_000_000, "requests")
        checks.share("LoadShedder.most", self.most)

    def layer(self, policy: str) -> LoadShedderLayer:
        """As `layer.Spec`."""
        return LoadShedderLayer(self, policy)


@dataclass(frozen=True, slots=True)
class LoadSnapshot:
    """Requests and accepts of the window, and the share of all traffic that is shed for it."""

    requests: int
    accepts: int
    shed: float


class Throttle:
    """Counts requests and accepts by priority over a sliding window, and says what to shed; usable alone.

    While nothing was refused in the window, `calm` is true and nothing is shed; then an accept is one append, and they
    are counted once a slice. Levels are indices into PRIORITIES.
    """

    def __init__(self, spec: LoadShedder) -> None:
        self.spec = spec
        self.calm = True
        self._slice_s = spec.window_s / _SLICES
        self._lock = threading.RLock()
        self._accepted: tuple[deque[None], ...] = tuple(deque() for _ in _LEVELS)  # not counted yet
        self._slices: deque[tuple[float, list[int], list[int]]] = deque()  # begin, requests, accepts by level
        self._requests = [0 for _ in _LEVELS]  # sums over the slices
        self._accepts = [0 for _ in _LEVELS]
        self._due = 0.0

    def accept(self, level: int) -> None:
        """A request was accepted by the other side: it answered, be it with an error of the caller's."""
        self._accepted[level].append(None)
        now = TIME.monotonic()
        if not self._due - self._slice_s <= now < self._due:
            with self._lock:
                self._count(now)

    def refuse(self, level: int) -> None:
        """A request was refused: there, or here by shedding it."""
        with self._lock:
            self._count(TIME.monotonic())
            self._slices[-1][1][level] += 1
            self._requests[level] += 1
            self.calm = False

    def chance(self, level: int) -> float:
        """The probability with which to shed a call of that level."""
        with self._lock:
            left = self._shed() * (sum(self._requests) + 1)  # calls to shed, from the bottom up; with this one
            for below in range(level):
                left -= self._requests[below]
            return max(0.0, min(1.0, left / (self._requests[level] + 1)))

    def snapshot(self) -> LoadSnapshot:
        """The numbers of this moment."""
        with self._lock:
            shed = self._shed()
            return LoadSnapshot(sum(self._requests), sum(self._accepts), shed)

    def _shed(self) -> float:
        """The share of all traffic that has to go."""
        self._count(TIME.monotonic())
        requests, accepts = sum(self._requests), sum(self._accepts)
        if requests < self.spec.calls:
            return 0.0
        return max(0.0, min(self.spec.most, (requests - self.spec.k * accepts) / (requests + 1)))

    def _count(self, now: float) -> None:
        """Forget what is too old, begin a slice where it is time, and count what was appended since."""
        if self._slices and now < self._slices[-1][0]:
            while self._slices:  # a test's time is over and the real one is earlier
                self._forget()
        if not self._slices or now >= self._slices[-1][0] + self._slice_s:
            self._slices.append((now, [0 for _ in _LEVELS], [0 for _ in _LEVELS]))
            self._due = now + self._slice_s
        while self._slices[0][0] <= now - self.spec.window_s:
            self._forget()
        _, requests, accepts = self._slices[-1]
        for level, marks in enumerate(self._accepted):
            for _ in range(len(marks)):
                marks.popleft()
                requests[level] += 1
                accepts[level] += 1
                self._requests[level] += 1
                self._accepts[level] += 1
        self.calm = self._requests == self._accepts

    def _forget(self) -> None:
        _, requests, accepts = self._slices.popleft()
        for level in _LEVELS:
            self._requests[level] -= requests[level]
            self._accepts[level] -= accepts[level]


class LoadShedderLayer:
    """Sheds by chance; the permit is the priority under which a call came in."""

    def __init__(self, spec: LoadShedder, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.random = random.Random()  # noqa: S311 - shedding is no secret
        self.throttle = Throttle(spec)
        self._on = checks.exceptions("LoadShedder.on", spec.on)

    def enter(self) -> int:
        """As `layer.Admission`; raises OverloadedError."""
        level = get_level()
        if not self.throttle.calm:
            self._decide(level)
        return level

    async def enter_async(self) -> int:
        """As `layer.Admission`; raises OverloadedError."""
        return self.enter()

    def leave(self, permit: int, error: BaseException | None) -> None:
        """As `layer.Admission`. Cancelled calls and those that an inner policy rejected count for nothing."""
        if error is None:
            self.throttle.accept(permit)
        elif isinstance(error, RejectedError) or not isinstance(error, Exception):
            return
        elif isinstance(error, self._on):
            self.throttle.refuse(permit)
        else:
            self.throttle.accept(permit)

    def snapshot(self) -> LoadSnapshot:
        """What is counted, and the share that is shed."""
        return self.throttle.snapshot()

    def _decide(self, level: int) -> None:
        chance = self.throttle.chance(level)
        if not chance or self.random.random() >= chance:
            return
        self.throttle.refuse(level)
        priority: Priority = PRIORITIES[level]
        emit("policy.shed", policy=self.policy, priority=priority, chance=chance)
        raise OverloadedError(self.policy, f"shed with probability {chance:.2f} as {priority}")
