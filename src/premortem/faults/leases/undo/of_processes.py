"""Undoing what was done to a process: it goes on, has its limit back, or is killed with its group.

Law: a process is known by its number and its birth. Another one under the same number is not touched.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from premortem.errors import FaultError
from premortem.faults.leases.identity import born
from premortem.faults.leases.undo.undone import Undone


@dataclass(frozen=True, slots=True)
class Continue:
    """A stopped process goes on."""

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """For a process that is about to be stopped."""
        return cls(pid, _birth(pid))

    def undo(self) -> Undone:
        """SIGCONT, if it is still the same process."""
        return _signal(self.pid, self.birth, signal.SIGCONT, "goes on")


@dataclass(frozen=True, slots=True)
class RestoreLimit:
    """A process has its soft limit back; `limit` is a resource.RLIMIT_ number. Linux."""

    pid: int
    birth: str
    limit: int
    soft: int

    @classmethod
    def of(cls, pid: int, limit: int) -> Self:
        """For a process whose soft limit is about to be lowered."""
        return cls(pid, _birth(pid), limit, resource.prlimit(pid, limit)[0])

    def undo(self) -> Undone:
        """The soft limit alone: a lowered hard limit could not be raised again."""
        if other := _is_another(self.pid, self.birth):
            return other
        try:
            soft, hard = resource.prlimit(self.pid, self.limit)
            if soft == self.soft:
                return Undone(changed=False, said=f"process {self.pid} has its limit {self.soft} already")
            resource.prlimit(self.pid, self.limit, (self.soft, hard))
        except ProcessLookupError:
            return Undone(changed=False, said=f"process {self.pid} has ended")
        return Undone(changed=True, said=f"process {self.pid} has its limit {self.soft} back, it was {soft}")


@dataclass(frozen=True, slots=True)
class KillGroup:
    """A process group that we started is killed; it is known by its leader."""

    group: int
    birth: str

    @classmethod
    def of(cls, leader: int) -> Self:
        """For a process that leads a group of its own."""
        if leader == os.getpgrp() or os.getpgid(leader) != leader:
            raise FaultError(f"process {leader}: leads no group of its own; start it with start_new_session=True")
        return cls(leader, _birth(leader))

    def undo(self) -> Undone:
        """SIGKILL the whole group, unless its leader has gone: then nobody can tell whose group it is now."""
        found = born(self.group, even_ended=True)
        if not found:
            return Undone(changed=False, said=f"the leader of group {self.group} has gone; nothing is touched")
        if found != self.birth:
            return Undone(changed=False, said=f"group {self.group} is another one by now, and is not touched")
        with suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        return Undone(changed=True, said=f"group {self.group} is killed")


def _birth(pid: int) -> str:
    found = born(pid)
    if not found:
        raise FaultError(f"process {pid}: is not running, so there is nothing to strike; start it first")
    return found


def _is_another(pid: int, birth: str) -> Undone | None:
    found = born(pid)
    if not found:
        return Undone(changed=False, said=f"process {pid} has ended")
    if found != birth:
        return Undone(changed=False, said=f"process {pid} is another one by now, and is not touched")
    return None


def _signal(pid: int, birth: str, number: signal.Signals, said: str) -> Undone:
    """Hold on to the process before looking at its birth, so that nobody can take its place in between (Linux)."""
    handle = -1
    with suppress(OSError):
        handle = os.pidfd_open(pid) if sys.platform == "linux" else -1
    try:
        if other := _is_another(pid, birth):
            return other
        with suppress(ProcessLookupError):
            if handle >= 0:
                signal.pidfd_send_signal(handle, number)
            else:
                os.kill(pid, number)
        return Undone(changed=True, said=f"process {pid} {said}")
    finally:
        if handle >= 0:
            os.close(handle)
