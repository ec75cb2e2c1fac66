"""Clocks that are wrong: a jump for whoever takes a `Clock`, and a faked wall clock for a whole process.

`JumpingClock` is enough where time comes in by argument. `SkewedClock` is for everything else: libfaketime, loaded
into processes that we start, shifts what they read of the calendar's time, and goes on doing so while they run.
Monotonic clocks are left alone, as an NTP step or `date -s` leaves them. The machine's own clock is never touched.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self, TypeVar, cast, overload

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import children, processes
from premortem.faults.children import Ended
from premortem.faults.children.fresh import run_fresh
from premortem.faults.strike import lifted, struck
from premortem.ports import Clock, SystemClock

T = TypeVar("T")

_FAULT = "clock"
_CENTURY_S = 100 * 365 * 86400
_OFFSET_FILE = "FAKETIME_TIMESTAMP_FILE"
_LIBRARY = "libfaketime*.so.1" if sys.platform != "darwin" else "libfaketime*.dylib"
_PRELOAD = "LD_PRELOAD" if sys.platform != "darwin" else "DYLD_INSERT_LIBRARIES"
_OF_THE_SYSTEM = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/opt/homebrew/lib")


def why_not() -> str:
    """Empty where a process's clock can be faked, else the exact reason."""
    try:
        with SkewedClock(-3600) as clock:
            seen = clock.run(time.time)
    except MissingRequirementError as missing:
        return missing.reason
    wrong = abs(seen - time.time() + 3600)
    return "" if wrong < 600 else f"a child's clock was {wrong:g} s from where it should be"  # noqa: PLR2004 - loaded


def library() -> Path:
    """Where libfaketime is: the wheel's (looked up, not imported), or the system's. MissingRequirementError."""
    spec = importlib.util.find_spec("libfaketime")
    places = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    places += [Path(root) / below for root in _OF_THE_SYSTEM for below in ("faketime", "x86_64-linux-gnu/faketime")]
    for place in places:
        for found in sorted(place.rglob(_LIBRARY)):
            return found
    raise MissingRequirementError("libfaketime", f"there is no {_LIBRARY}", "pip install 'premortem[lab]'")


class JumpingClock:
    """A `Clock` that can be moved, forth and back; its monotonic time goes on as if nothing had happened."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._offset = timedelta()
        self._untold = ""

    def now(self) -> datetime:
        """The calendar's time, as far off as it was made to jump. The first look at it after a jump is the strike."""
        if self._untold:
            untold, self._untold = self._untold, ""
            struck(_FAULT, untold)
        return self._clock.now() + self._offset

    def monotonic(self) -> float:
        """Seconds, unmoved."""
        return self._clock.monotonic()

    def jump(self, seconds: float) -> None:
        """Move the calendar's time by `seconds`, back where they are below 0."""
        self._offset += timedelta(seconds=_moving(seconds))
        self._untold = f"jumped {_direction(seconds)}, is now {self._offset.total_seconds():+g} s off"


class SkewedClock:
    """Processes that are started with `environment` (or by `run`) live `offset_s` seconds off, and follow `jump`."""

    def __init__(self, offset_s: float = 0.0) -> None:
        preload = " ".join(filter(None, (str(library()), os.environ.get(_PRELOAD))))
        self._folder = Path(tempfile.mkdtemp(prefix="premortem-clock-"))
        self._file = self._folder / "offset"
        self.offset_s = offset_s
        self._write()
        self.environment = {
            _PRELOAD: preload,
            _OFFSET_FILE: str(self._file),
            "FAKETIME_NO_CACHE": "1",  # so that a jump is seen at the next look at the clock
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
            "FAKETIME_DONT_RESET": "1",  # a child's clock is its parent's
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The clock is right again, for processes that still run as well. Can be called again."""
        if self._folder.exists():
            if self.offset_s:
                self.set_right()
            shutil.rmtree(self._folder)

    def jump(self, seconds: float) -> None:
        """Move it by `seconds`, back where they are below 0, under the processes that run."""
        self.offset_s += _moving(seconds)
        self._write()
        if running := tuple(self.running()):
            struck(_FAULT, f"jumped {_direction(seconds)} under process {', '.join(map(str, running))}")

    def set_to(self, moment: datetime) -> None:
        """Let it be `moment` now, and go on from there."""
        if moment.tzinfo is None:
            raise FaultError(f"{moment}: has no time zone, so it is no moment; write datetime(..., tzinfo=UTC)")
        self.jump((moment - datetime.now(UTC)).total_seconds() - self.offset_s)

    def set_right(self) -> None:
        """Let it be right again."""
        self.offset_s = 0.0
        self._write()
        lifted(_FAULT, "is right again")

    def running(self) -> Sequence[int]:
        """Processes of ours that live by this clock now (Linux)."""
        mark = f"{_OFFSET_FILE}={self._file}".encode()
        return [pid for pid in processes.descendants() if mark in _environment_of(pid)]

    @overload
    def run(self, start: Sequence[str], *, time_s: float = ...) -> Ended: ...

    @overload
    def run(self, start: Callable[..., T], *arguments: object, time_s: float = ...) -> T: ...

    def run(self, start: Callable[..., T] | Sequence[str], *arguments: object, time_s: float = 10.0) -> T | Ended:
        """Run a command, or a function of a module's top (in a new interpreter), by this clock.

        As `children.run` and `run_fresh`.
        """
        if self.offset_s:
            name = getattr(start, "__qualname__", "") or cast("Sequence[str]", start)[0]
            struck(_FAULT, f"{name} starts {_direction(self.offset_s)}")
        if callable(start):
            return run_fresh(start, *arguments, environment=self.environment, time_s=time_s)
        return children.run(start, environment=self.environment, time_s=time_s)

    def _write(self) -> None:
        """By renaming: a process that looks meanwhile sees the old offset or the new one."""
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{self.offset_s:+.6f}\n", encoding="ascii")
        draft.replace(self._file)


def _moving(seconds: float) -> float:
    if not seconds or abs(seconds) > _CENTURY_S or math.isnan(seconds):
        raise FaultError(f"{seconds} s: is no jump; name seconds other than 0, and fewer than a hundred years")
    return seconds


def _direction(seconds: float) -> str:
    return f"{abs(seconds):g} s {'ahead' if seconds > 0 else 'back'}"


def _environment_of(pid: int) -> bytes:
    with suppress(OSError):  # it ended, or belongs to somebody else
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""
