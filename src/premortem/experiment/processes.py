"""What the system knows of a family of processes: who descends from whom, how much memory, which command."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def descendants(ancestor: int) -> list[int]:
    """Children of `ancestor`, their children and so on, without those that have ended; empty where /proc is not."""
    if sys.platform != "linux":
        return []
    found: list[int] = []
    queue = [ancestor]
    while queue:
        children = _children(queue.pop())
        queue += children
        found += [pid for pid in children if not _has_ended(pid)]
    return found


def resident_bytes(pid: int) -> int:
    """Memory that a process holds, shared pages included; 0 when it is gone."""
    with suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    return 0


def command_of(pid: int) -> str:
    """A process by number and command line, for people."""
    command = b""
    with suppress(OSError):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return f"{pid} {command.replace(bytes(1), b' ').decode('utf-8', 'replace').strip()[:120]}".strip()


def _children(pid: int) -> list[int]:
    children: list[int] = []
    with suppress(OSError):  # it ended while we looked: then its children are somebody else's
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                children += map(int, (task / "children").read_bytes().split())
    return children


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in (b"Z", b"X")
    except OSError:
        return True
