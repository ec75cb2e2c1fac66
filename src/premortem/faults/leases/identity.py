"""Which process it was: its number and its birth, so that a number that was given out again is known.

Law: a number alone never names a process that may have ended. After a restart of the machine every number is another's.
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_ENDED = ("Z", "X")  # it waits to be buried: nothing that is done to it has an effect
_STATE, _START_TICKS = 0, 19  # of what follows the name in /proc/PID/stat: fields 3 and 22 of proc(5)


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that put faults in."""

    pid: int
    birth: str

    @classmethod
    def me(cls) -> Self:
        """This process."""
        return cls(os.getpid(), born(os.getpid()))

    @property
    def name(self) -> str:
        """For its files: the number, and what tells it from another one under that number since the machine started."""
        return f"{self.pid}-{self.birth.rpartition('/')[2].replace(' ', '_').replace(':', '')}"

    def lives(self) -> bool:
        """Whether it still runs: it, and not another one under its number."""
        return bool(self.birth) and born(self.pid) == self.birth


def born(pid: int, *, even_ended: bool = False) -> str:
    """When process `pid` was born, as a word to compare; empty when there is none, or it has ended.

    `even_ended` counts one that has ended and is not reaped yet: its number is still its own.
    """
    if pid <= 0:
        return ""
    if sys.platform != "linux":
        return _told_by_ps(pid, even_ended=even_ended)
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    if fields[_STATE] in _ENDED and not even_ended:
        return ""
    return f"{_boot()}/{fields[_START_TICKS]}"


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()


def _told_by_ps(pid: int, *, even_ended: bool) -> str:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False, env={"LC_ALL": "C"}
    )
    state, _, start = answer.stdout.strip().partition(" ")
    return "" if state[:1] in _ENDED and not even_ended else start.strip()
