"""Faults of processes that we started: killed, or frozen for a while."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from premortem.faults.strike import lifted, struck


def kill(pid: int, what: str) -> None:
    """SIGKILL: the process has no say in it."""
    os.kill(pid, signal.SIGKILL)
    struck("killed", f"{what}, process {pid}")


@contextmanager
def frozen(pid: int, what: str) -> Iterator[None]:
    """SIGSTOP for the block: it is alive, holds its connections, and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    struck("frozen", f"{what}, process {pid}")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)
        lifted("frozen", what)
