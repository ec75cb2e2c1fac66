"""Whether system calls can be intercepted here: tried for real, and the exact reason where not."""

from __future__ import annotations

import functools
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from premortem.errors import PremortemError
from premortem.faults.syscalls import structs
from premortem.faults.syscalls.decisions import GO, Decision, Fail, Short
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.run import MACHINES, run

_TRIAL_S = 10.0
_ENOSPC = 28


@functools.cache
def why_not() -> str:
    """Empty where calls can be watched, failed, delayed and killed at; else why not, in words. 10 ms, once."""
    if sys.platform != "linux":
        return f"{sys.platform} has no seccomp; this needs Linux 5.6 or newer"
    if platform.machine() not in MACHINES:
        return f"the system calls of {platform.machine()} are not known here"
    try:
        structs.require_notification(platform.machine())
        structs.sizes(platform.machine())
    except OSError as error:
        return f"Linux {platform.release()} cannot ask a supervisor about a call: {error.strerror}"
    return _tried(_failing_fsync, {"fsync": Fail(_ENOSPC)})


@functools.cache
def why_not_all() -> str:
    """Empty where every decision can be carried out; else why writes cannot be halved, nor connections severed.

    That takes a descriptor out of the program (pidfd_getfd), which some containers refuse.
    """
    return why_not() or _tried(_halved_write, {"write": Short()})


def _failing_fsync() -> None:
    descriptor = os.open("trial", os.O_WRONLY | os.O_CREAT)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno == _ENOSPC:
            return
    raise SystemExit("fsync was not intercepted")


def _halved_write() -> None:
    if os.write(os.open("trial", os.O_WRONLY | os.O_CREAT), b"halved") != len(b"hal"):
        raise SystemExit("write was not halved")


def _tried(trial: Callable[[], None], effects: Mapping[str, Decision]) -> str:
    def decide(operation: Operation) -> Decision:
        return effects.get(operation.call, GO) if operation.target == "trial" else GO

    with tempfile.TemporaryDirectory(prefix="premortem-") as folder:
        try:
            ended = run(trial, decide, watch=("file",), time_s=_TRIAL_S, folder=Path(folder), told=False)
        except (PremortemError, OSError) as error:
            return str(error)
    if ended.timed_out:
        return f"a trial of it did not end within {_TRIAL_S:g} s"
    return "" if ended.status == 0 else f"a trial of it ended with {ended.status}: {ended.output.strip()}"
