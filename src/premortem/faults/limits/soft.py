"""Soft limits of processes, moved and moved back.

Law: only the soft limit is moved. A hard limit that was lowered cannot be raised again without a privilege that even
root may lack, so a fault that did so could not be undone. Programs are held to the soft limit alone.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import processes
from premortem.faults.leases.lease import leased
from premortem.faults.leases.undo import RestoreLimit
from premortem.faults.strike import lifted, struck


@contextmanager
def lowered(pid: int, name: str, value: int, fault: str) -> Iterator[None]:
    """The soft limit `name` (RLIMIT_...) of a child, or of us where `pid` is 0, is `value` for the block.

    A child's is on lease: it has its limit back when we die, too.
    """
    who = f"process {pid}" if pid else "this process"
    if pid:
        processes.ours(pid, name)
    refuse_no_change(pid, name, value)
    try:
        with _leased(pid, name, who) if pid else nullcontext():
            before = move(pid, name, value)
            try:
                struck(f"{fault} limited", f"{name} of {who} is {value}")
                yield
            finally:
                restore(pid, name, before)
    finally:
        lifted(f"{fault} limited", who)


def _leased(pid: int, name: str, who: str) -> AbstractContextManager[object]:
    return leased(RestoreLimit.of(pid, int(getattr(resource, name))), what=f"{name} of {who} is lowered")


def restore(pid: int, name: str, before: tuple[int, int]) -> None:
    """Give it back what `move` said it was."""
    with suppress(ProcessLookupError):  # it ended meanwhile
        _limit(pid, name, before)


def move(pid: int, name: str, soft: int) -> tuple[int, int]:
    """Lower the soft limit; what soft and hard were before. FaultError where it is no higher already."""
    before = refuse_no_change(pid, name, soft)
    _limit(pid, name, (soft, before[1]))
    return before


def refuse_no_change(pid: int, name: str, soft: int) -> tuple[int, int]:
    """What soft and hard are. FaultError where `soft` would lower nothing."""
    before = _limit(pid, name)
    if soft < 0 or (before[0] != resource.RLIM_INFINITY and soft >= before[0]):
        raise FaultError(f"{name}={soft}: has to be from 0 to below {before[0]}, which it is; name a lower one")
    return before


def _limit(pid: int, name: str, value: tuple[int, int] | None = None) -> tuple[int, int]:
    """The limit of a process, or set it (with `value`)."""
    which = int(getattr(resource, name))
    if hasattr(resource, "prlimit"):
        return resource.prlimit(pid, which) if value is None else resource.prlimit(pid, which, value)
    if pid:
        raise MissingRequirementError("prlimit", f"{sys.platform} has none", "limit the child when it starts: limited")
    before = resource.getrlimit(which)
    if value is not None:
        resource.setrlimit(which, value)
    return before


def held_to_threads() -> None:
    """MissingRequirementError where the kernel does not hold us to a number of threads."""
    if os.getuid() == 0:
        raise MissingRequirementError(
            "thread limit", "root is not held to RLIMIT_NPROC", "run as another user, or put the child into a Cgroup"
        )
    if not Path("/proc/self").exists():
        raise MissingRequirementError("thread limit", f"{sys.platform} counts no threads", "run on Linux")
