"""Limits of a process that runs: descriptors, memory, file size, threads; lowered for a block, then raised again.

Of this process, or (Linux) of a child by its number. `limited` starts a child under limits instead.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults.limits.soft import held_to_threads, lowered, move, restore

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@contextmanager
def descriptors(spare: int = 0, pid: int = 0) -> Iterator[None]:
    """Exactly `spare` descriptors can be opened, then EMFILE; of us, or of a child by its `pid`."""
    with lowered(pid, "RLIMIT_NOFILE", _free_descriptor(pid, _counted("spare", spare)), "descriptors"):
        yield


@contextmanager
def memory(spare_bytes: int, pid: int = 0) -> Iterator[None]:
    """No more than `spare_bytes` of address space can be had: MemoryError, ENOMEM; of us, or of a child."""
    with lowered(pid, "RLIMIT_AS", mapped_bytes(pid) + _counted("spare_bytes", spare_bytes), "memory"):
        yield


@contextmanager
def file_size(bytes_: int, pid: int) -> Iterator[None]:
    """No file of a child can grow beyond `bytes_`: a write is cut short there, and the next fails with EFBIG.

    A program that does not ignore SIGXFSZ (Python does) is killed by it. Of a child alone: here it would strike what
    tells of the fault as well. For a function there is `run(..., limited=Limited(file_bytes=...))`.
    """
    with lowered(pid, "RLIMIT_FSIZE", _counted("bytes_", bytes_), "file size"):
        yield


@contextmanager
def threads(spare: int = 0) -> Iterator[None]:
    """No more than `spare` threads or processes can be started: RuntimeError, EAGAIN.

    Counted over all processes of our user, as the kernel does. MissingRequirementError for root, which is not held
    to this limit.
    """
    held_to_threads()
    with lowered(0, "RLIMIT_NPROC", _tasks_of_our_user() + _counted("spare", spare), "threads"):
        yield


def why_not() -> str:
    """Empty where a running child's limits can be lowered and raised again, else the exact reason."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            restore(child.pid, "RLIMIT_NOFILE", move(child.pid, "RLIMIT_NOFILE", 8))
        except (MissingRequirementError, FaultError, OSError) as error:
            return f"{error}"
        finally:
            child.kill()
    return ""


def why_not_threads() -> str:
    """Empty where threads can be limited, else the exact reason."""
    try:
        held_to_threads()
    except MissingRequirementError as missing:
        return missing.reason
    return ""


def mapped_bytes(pid: int = 0) -> int:
    """The address space that a process has mapped, which is what RLIMIT_AS counts."""
    return int(_proc(pid, "statm").read_bytes().split()[0]) * _PAGE_BYTES


def _free_descriptor(pid: int, spare: int) -> int:
    """The free number that is left when `spare` lower ones have been taken: a new descriptor gets the lowest."""
    folder = _proc(pid, "fd") if Path("/proc/self").exists() else Path("/dev/fd")
    used = {int(name) for name in os.listdir(folder) if name.isdigit()}  # noqa: PTH208 - numbers, not paths
    if not pid:
        used = {number for number in used if _is_open(number)}  # without the one by which we looked
    free = (number for number in itertools.count() if number not in used)
    return next(itertools.islice(free, spare, None))


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _tasks_of_our_user() -> int:
    """Threads of all processes of our user."""
    count = 0
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if process.stat().st_uid == os.getuid():
                count += len(list((process / "task").iterdir()))
    return count


def _proc(pid: int, name: str) -> Path:
    path = Path("/proc") / (str(pid) if pid else "self") / name
    if not path.exists():
        raise FaultError(f"process {pid}: there is no {path}; name a child that runs, on Linux")
    return path


def _counted(name: str, value: int) -> int:
    if value < 0:
        raise FaultError(f"{name}={value}: has to be 0 or more; it is what is still to be had")
    return value
