"""Processes of a benchmark: started in a group of their own, found again with what they fork, killed at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

UP_S = 15.0
PROC = Path("/proc")


@contextmanager
def running(command: Sequence[str | Path], log: Path, *, pipes: bool = False) -> Iterator[subprocess.Popen[str]]:
    """The command, until the block ends; then its whole group is killed. What it says goes to `log`."""
    pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
    with log.open("a") as said:
        out: int | IO[str] = pipe if pipes else said
        process = subprocess.Popen(command, stdin=pipe, stdout=out, stderr=said, text=True, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait_for(port: int, process: subprocess.Popen[str], log: Path) -> None:
    """Until somebody listens there; RuntimeError with what the process said where it ends or stays silent."""
    until = time.monotonic() + UP_S
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.01)
    raise RuntimeError(f"{process.args!r}: nobody listens on {port} after {UP_S:g} s: {log.read_text()[-2000:]}")


def missing(program: str, packages: str) -> str:
    """Empty, or what to install."""
    return "" if find(program) else f"not installed: apt-get install {packages}"


def find(program: str) -> str:
    """Its path, empty where there is none; servers stand in folders that are not on everybody's PATH."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin") or ""


def first_line(*command: str) -> str:
    """The first line that a program says of itself."""
    said = subprocess.run(command, check=False, capture_output=True, text=True)
    return (said.stdout + said.stderr).strip().splitlines()[0]


def family(pids: Sequence[int]) -> tuple[int, ...]:
    """These processes and all that they have forked."""
    found = list(pids)
    for pid in found:  # grows while it is walked
        with suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return tuple(found)


def children() -> set[int]:
    """Processes below this one."""
    return set(family([os.getpid()])) - {os.getpid()}


def resident_bytes(pids: Sequence[int]) -> tuple[int, int]:
    """Resident memory of these processes, and the same with every shared page counted once.

    RuntimeError where the system does not tell: Linux alone does.
    """
    if not PROC.is_dir():
        raise RuntimeError("no /proc here to read it from")
    resident = once = 0
    for pid in family(pids):
        with suppress(OSError):
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                if line.startswith("Rss:"):
                    resident += int(line.split()[1]) * 1024
                elif line.startswith("Pss:"):
                    once += int(line.split()[1]) * 1024
    return resident, once


@contextmanager
def on_one_processor(wanted: bool) -> Iterator[None]:  # noqa: FBT001 - the one question it answers
    """All that is started in this block runs on one processor, if wanted and where the system can do it."""
    if not wanted or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
