"""Whether system calls can be intercepted here: tried for real, and the exact reason where not."""

from __future__ import annotations

import functools
import os
import platform
import sys
import tempfile
from pathlib import Path

from premortem.errors import PremortemError
from premortem.faults.syscalls import structs
from premortem.faults.syscalls.decisions import GO, Decision, Fail, Short
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.run import MACHINES, run

_TRIAL_S = 10.0
_ENOSPC = 28
_UNTOUCHED = 3


@functools.cache
def why_not() -> str:
    """Empty where it works; else why not, in words. 10 ms, once."""
    if sys.platform != "linux":
        return f"{sys.platform} has no seccomp; this needs Linux 5.6 or newer"
    if platform.machine() not in MACHINES:
        return f"the system calls of {platform.machine()} are not known here"
    try:
        structs.require_notification(platform.machine())
        structs.sizes(platform.machine())
    except OSError as error:
        return f"Linux {platform.release()} cannot ask a supervisor about a call: {error.strerror}"
    return _tried()


def _tried() -> str:
    """Fail an fsync, and halve a write: reading memory and taking a descriptor are tried by that, too."""
    with tempfile.TemporaryDirectory(prefix="premortem-") as folder:
        path = Path(folder) / "trial"

        def trial() -> None:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
            if os.write(descriptor, b"halved") != _UNTOUCHED:
                raise SystemExit(2)
            try:
                os.fsync(descriptor)
            except OSError as error:
                raise SystemExit(0 if error.errno == _ENOSPC else 3) from None
            raise SystemExit(4)

        def decide(operation: Operation) -> Decision:
            effects: dict[str, Decision] = {"fsync": Fail(_ENOSPC), "write": Short()}
            return effects.get(operation.call, GO)

        try:
            ended = run(trial, decide, watch=("file",), time_s=_TRIAL_S, folder=Path(folder))
        except (PremortemError, OSError) as error:
            return str(error)
    if ended.timed_out:
        return f"a trial of it did not end within {_TRIAL_S:g} s"
    return "" if ended.status == 0 else f"a trial of it ended with {ended.status}: {ended.output.strip()}"
