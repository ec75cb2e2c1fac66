"""The keeper: a process between us and the target, in which its whole family ends.

It is the parent of what was started, inherits every orphan of it (a daemon cannot leave), and kills them all: when
the started process ends, when the supervisor asks for it (SIGTERM), when the supervisor dies, and, should that hang, a
little after the time limit. What the status of the started process was, it says through a pipe.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from contextlib import suppress
from pathlib import Path

from premortem.faults.syscalls.structs import die_with_parent, inherit_orphans

STATUS = struct.Struct("=i")
_GRACE_S = 3.0  # after the time limit, which is the supervisor's to keep
_SIGNALS = frozenset({signal.SIGTERM, signal.SIGCHLD})


def prepare(supervisor: int) -> None:
    """Before the target is forked: a session of our own, and a parent whose death is heard."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in (*_SIGNALS, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN if number in {signal.SIGINT, signal.SIGHUP} else signal.SIG_DFL)
    die_with_parent(signal.SIGTERM)
    os.setsid()
    inherit_orphans()
    if os.getppid() != supervisor:  # it died before we could ask to be told
        os._exit(1)


def release() -> None:
    """In the target: undo what `prepare` did to signals, and die with the keeper."""
    die_with_parent(signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    os.setpgid(0, 0)


def keep(target: int, pipe: int, time_s: float) -> None:
    """Wait for `target`, or for the order to end; then end the family, and tell the target's status."""
    close_all_but(pipe)
    status, ends_at = None, time.monotonic() + time_s + _GRACE_S
    while status is None:
        heard = signal.sigtimedwait(_SIGNALS, max(0.0, ends_at - time.monotonic()))
        status = _reap(target)
        if heard is None or heard.si_signo == signal.SIGTERM:
            break
    status = _end_family(target, status)
    with suppress(BrokenPipeError):  # nobody is left to be told
        os.write(pipe, STATUS.pack(status))


def close_all_but(*kept: int) -> None:
    """Close what is open, by the kernel's list: a container's limit may be a billion, too many to try each."""
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:  # noqa: PTH208 - names, not paths
        if descriptor not in kept:
            with suppress(OSError):  # the one that the list was read from
                os.close(descriptor)


def _reap(target: int) -> int | None:
    """Bury who has died; the status of `target` if it is among them."""
    status = None
    with suppress(ChildProcessError):
        while (died := os.waitpid(-1, os.WNOHANG))[0]:
            if died[0] == target:
                status = os.waitstatus_to_exitcode(died[1])
    return status


def _end_family(target: int, status: int | None) -> int:
    with suppress(ChildProcessError):
        while True:
            if status is None:  # it first, so that it starts no more of them
                _kill(target)
            died = os.waitpid(-1, os.WNOHANG)
            if died[0] == 0:
                for process in descendants(os.getpid()):
                    _kill(process)
                died = os.waitpid(-1, 0)
            if died[0] == target:
                status = os.waitstatus_to_exitcode(died[1])
    return -signal.SIGKILL if status is None else status


def _kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def descendants(process: int) -> list[int]:
    """All that descend from `process`, the nearest first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # gone meanwhile
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found: list[int] = [process]
    for one in found:  # grows while it is walked
        found += parents.get(one, [])
    return found[1:]
