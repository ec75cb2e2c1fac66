"""What the system knows of a family of processes: who descends from whom, how much memory, which command."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def adopt_orphans() -> None:
    """Become the parent of whatever our descendants leave behind (Linux; elsewhere that is init's)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(ancestor: int, at_most: int = 2**22) -> list[int]:
    """Children of `ancestor`, their children and so on, without those that have ended; empty where /proc is not.

    The search ends when it has found `at_most`: a family that forks without end grows faster than it can be read.
    """
    if sys.platform != "linux":
        return []
    found: list[int] = []
    queue = [ancestor]
    while queue and len(found) < at_most:
        children = children_of(queue.pop())
        queue += children
        found += [pid for pid in children if not _has_ended(pid)]
    return found


def resident_bytes(pid: int) -> int:
    """Memory that a process holds, shared pages included; 0 when it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    return 0


def proportional_bytes(pid: int) -> int:
    """Memory that a process holds, each shared page divided among those that share it; slower. 0 when it is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def command_of(pid: int) -> str:
    """A process by number and command line, for people."""
    command = b""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return f"{pid} {command.replace(bytes(1), b' ').decode('utf-8', 'replace').strip()[:120]}".strip()


def children_of(pid: int) -> list[int]:
    """Its children, those that have ended and wait to be reaped included; empty where /proc is not."""
    children: list[int] = []
    with suppress(OSError):  # it ended while we looked: then its children are somebody else's
        for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 - read often, and when time is short
            with suppress(OSError):
                children += map(int, Path(f"/proc/{pid}/task/{task}/children").read_bytes().split())
    return children


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
