"""The first lines of a kind, then one that says how many there were: a flood must not fill the disk.

Decided, not written here: `decide` says whether a line is written, and which summaries are due. A kind is a logger, a
level and an event in which numbers are alike. Memory is bounded: the kind that began longest ago is summed up early.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from premortem.errors import ConfigurationError

_LOOKED_AT = 200
_VARYING = re.compile(r"\b(?=[0-9a-f-]*[0-9])[0-9a-f][0-9a-f-]{7,}\b|[0-9]+")


@dataclass(frozen=True, slots=True)
class Repeats:
    """How many lines of a kind are written: the `first` of each `window_s` seconds. At most `kinds` are remembered.

    Levels in `always` are never held back.
    """

    first: int = 20
    window_s: float = 60.0
    kinds: int = 1000
    always: frozenset[str] = frozenset({"critical"})

    def __post_init__(self) -> None:
        if self.first < 1:
            raise ConfigurationError(f"Repeats.first = {self.first!r}: has to be 1 or more lines; repeats=None for all")
        if not 0 < self.window_s <= 86400:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"Repeats.window_s = {self.window_s!r}: has to be above 0 and up to 86400 seconds")
        if not 1 <= self.kinds <= 100_000:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"Repeats.kinds = {self.kinds!r}: has to be 1 to 100000")


@dataclass(frozen=True, slots=True)
class Kind:
    """What lines are taken for repeats of each other by."""

    logger: str
    level: str
    event: str

    @classmethod
    def of(cls, logger: str, level: str, event: str) -> Kind:
        """With all numbers alike: "order 7 failed" and "order 8 failed" are one kind."""
        return cls(logger, level, _VARYING.sub("#", event[:_LOOKED_AT]))


@dataclass(frozen=True, slots=True)
class Summary:
    """So many lines of a kind were held back, the first of them at `since`."""

    kind: Kind
    held_back: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the line is written, and which summaries before it."""

    write: bool
    due: tuple[Summary, ...] = ()


@dataclass(slots=True)
class _Window:
    ends: float
    lines: int = 0
    held_back: int = 0
    since: datetime | None = None
    until: datetime | None = None


class Counting:
    """The windows that are open, the oldest first. Not thread-safe: whoever writes the log holds its lock."""

    def __init__(self, rule: Repeats) -> None:
        self._rule = rule
        self._windows: OrderedDict[Kind, _Window] = OrderedDict()

    def decide(self, kind: Kind, at_s: float, now: datetime) -> Decision:
        """A line of `kind` comes at `at_s` (monotonic seconds), which is `now`."""
        due = tuple(self._over(at_s))
        if kind.level in self._rule.always:
            return Decision(True, due)
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= self._rule.kinds:
                due += self._closed(*self._windows.popitem(last=False))
            window = self._windows[kind] = _Window(at_s + self._rule.window_s)
        window.lines += 1
        if window.lines <= self._rule.first:
            return Decision(True, due)
        window.held_back += 1
        window.since, window.until = window.since or now, now
        return Decision(False, due)

    def close(self) -> tuple[Summary, ...]:
        """What is still to be said; every window begins anew."""
        windows, self._windows = self._windows, OrderedDict()
        return tuple(summary for kind, window in windows.items() for summary in self._closed(kind, window))

    def _over(self, at_s: float) -> Iterator[Summary]:
        while self._windows:
            kind, window = next(iter(self._windows.items()))
            if window.ends > at_s:
                return
            del self._windows[kind]
            yield from self._closed(kind, window)

    @staticmethod
    def _closed(kind: Kind, window: _Window) -> tuple[Summary, ...]:
        if not window.held_back or window.since is None or window.until is None:
            return ()
        return (Summary(kind, window.held_back, window.since, window.until),)
