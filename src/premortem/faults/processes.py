"""Faults of processes that we started: killed, or frozen for a while."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck


def kill(pid: int, what: str) -> None:
    """SIGKILL: the process has no say in it. FaultError unless we, or a child of ours, started it."""
    os.kill(_ours(pid, what), signal.SIGKILL)
    struck("killed", f"{what}, process {pid}")


@contextmanager
def frozen(pid: int, what: str) -> Iterator[None]:
    """SIGSTOP for the block: it is alive, holds its connections, and does nothing. FaultError as for `kill`."""
    os.kill(_ours(pid, what), signal.SIGSTOP)
    try:
        struck("frozen", f"{what}, process {pid}")
        yield
    finally:
        with suppress(ProcessLookupError):  # somebody killed it meanwhile
            os.kill(pid, signal.SIGCONT)
        lifted("frozen", what)


def _ours(pid: int, what: str) -> int:
    """`pid`, if it descends from this process."""
    above = pid
    while above > 1:
        above = _parent(above)
        if above == os.getpid():
            return pid
    raise FaultError(
        f"{what}, process {pid}: is none that we started, and faults strike only those; start one to strike"
    )


def _parent(pid: int) -> int:
    """The parent's number, 0 when there is no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    if Path("/proc/self").exists():
        return 0
    answer = subprocess.run(["ps", "-o", "ppid=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return int(answer.stdout.strip() or 0)
