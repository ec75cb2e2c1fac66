"""A control group of our own: memory whose end is the kernel's kill (OOM), and a number of threads.

What a container meets that asks for too much: SIGKILL, exit status 137, no MemoryError and no word in the log. Wants
a hierarchy that we may write to: root with version 1 or 2, or a delegated one (systemd). Root is held to it, unlike
to RLIMIT_NPROC.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults.children.inside import Inside
from premortem.faults.strike import lifted, struck

_ROOT = Path("/sys/fs/cgroup")
_FAULT = "out of memory"
_FILES = {  # (controller, version): its limit, what counts its strikes, the word before the number in that
    ("memory", 1): ("memory.limit_in_bytes", "memory.oom_control", "oom_kill"),
    ("memory", 2): ("memory.max", "memory.events", "oom_kill"),
    ("pids", 1): ("pids.max", "pids.events", "max"),
    ("pids", 2): ("pids.max", "pids.events", "max"),
}
_ENDING_S = 5.0


def why_not_memory() -> str:
    """Empty where a group's memory can be limited, else the exact reason."""
    return _why_not(memory_bytes=1 << 26)


def why_not_pids() -> str:
    """Empty where a group's processes and threads can be limited, else the exact reason."""
    return _why_not(processes=10)


class Cgroup(Inside):
    """A group whose processes have `memory_bytes` together, or may be `processes` and threads, at most.

    MissingRequirementError with the kernel's reason where we may not make one.
    """

    def __init__(self, *, memory_bytes: int | None = None, processes: int | None = None) -> None:
        if (memory_bytes is None) == (processes is None):
            raise FaultError("Cgroup(): limits one thing; write Cgroup(memory_bytes=64 << 20) or Cgroup(processes=20)")
        self._controller, self._limit = ("memory", memory_bytes) if processes is None else ("pids", processes)
        if self._limit is None or self._limit < 1:
            raise FaultError(f"Cgroup({self._controller}={self._limit}): has to be 1 or more; nothing runs in less")
        self._told = 0
        try:
            parent, version = _parent(self._controller)
            self._limit_file, self._events, self._word = _FILES[self._controller, version]
            self._folder = Path(tempfile.mkdtemp(prefix="premortem-", dir=parent))
        except OSError as error:
            raise _missing(self._controller, f"{error}") from error
        try:
            self._folder.joinpath(self._limit_file).write_text(str(self._limit))
            if self._controller == "memory":
                self._without_swap(version)
        except OSError as error:
            self._folder.rmdir()
            raise _missing(self._controller, f"{error}") from error

    @property
    def strikes(self) -> int:
        """How many processes were killed for memory, or how many times one more was refused."""
        for line in (self._folder / self._events).read_text().splitlines():
            word, _, number = line.partition(" ")
            if word == self._word:
                return int(number)
        return 0

    def enter(self) -> None:
        """As `Inside`."""
        (self._folder / "cgroup.procs").write_text(str(os.getpid()))

    def looked(self) -> None:
        """As `Inside`: what the kernel has killed or refused is told."""
        if (strikes := self.strikes) > self._told:
            self._told = strikes
            if self._controller == "memory":
                struck(_FAULT, f"the kernel killed {strikes} process(es) for more than {self._limit} bytes")
            else:
                struck("threads limited", f"{strikes} refused beyond {self._limit}")

    def close(self) -> None:
        """As `Inside`: whoever is left inside is killed."""
        until = time.monotonic() + _ENDING_S
        while self._folder.exists() and time.monotonic() < until:
            for pid in (self._folder / "cgroup.procs").read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            with suppress(OSError):  # busy until the last of them is gone
                self._folder.rmdir()
                lifted(f"{self._controller} limited", "the group is gone")
                return
            time.sleep(0.002)

    def _without_swap(self, version: int) -> None:
        name = "memory.memsw.limit_in_bytes" if version == 1 else "memory.swap.max"
        with suppress(OSError):  # a kernel that does not count swap; then what is too much is swapped first
            (self._folder / name).write_text(str(self._limit) if version == 1 else "0")


def _why_not(**limit: int) -> str:
    try:
        with Cgroup(**limit) as group:
            group.run(os.getpid)
    except MissingRequirementError as missing:
        return missing.reason
    except OSError as error:
        return f"{error}"
    return ""


def _parent(controller: str) -> tuple[Path, int]:
    """Our own group in the hierarchy that has the controller, and the hierarchy's version. OSError where there is none.

    In version 2 a group with processes cannot have limited children (cgroups(7), "no internal processes"), so there
    it is our group's parent.
    """
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = _ROOT / controllers / path.lstrip("/")
            return (own if own.is_dir() else _ROOT / controllers), 1
        if not controllers:
            unified = _ROOT / "unified" if (_ROOT / "unified").is_dir() else _ROOT
            above = (unified / path.lstrip("/")).parent if path != "/" else unified
            if controller in (above / "cgroup.subtree_control").read_text().split():
                return above, 2
    raise OSError(f"no hierarchy below {_ROOT} has the {controller} controller for us")


def _missing(controller: str, reason: str) -> MissingRequirementError:
    return MissingRequirementError(
        f"cgroup ({controller})",
        reason,
        "run as root, or in a delegated group (systemd-run --user --scope -p Delegate=yes)",
    )
