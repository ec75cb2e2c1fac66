"""Runs a command for so many seconds at most, and leaves no process of it behind.

Law: a command is a session of its own, so that all of it is killed together. What has left that session is found
because orphans become ours (`adopt_orphans`, Linux) and is killed by `bury_strays`.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from premortem.faults.sweep.source import Ended, Start

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_TAIL_BYTES = 4000  # of what it printed; the end is where a program says what became of it
_BURY_S = 5.0
_SCRIPTS = (".py", ".sh", ".pl", ".rb", ".js")


def run(start: Start) -> Ended:
    """Run to the end or to the limit; output and errors come back together, cut to their end."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                start.argv, cwd=start.folder, env=dict(start.environment), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            return Ended(127, failed=f"{start.argv[0]}: {error.strerror or error}")
        timed_out = False
        try:
            status = _wait(process, start.time_s)
        except subprocess.TimeoutExpired:
            timed_out, status = True, -signal.SIGKILL
        finally:
            _kill_session(process)
        return Ended(status, timed_out, _tail(output.fileno()), time.monotonic() - began)


def rooted(argv: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The program, and the script of an interpreter, made absolute where they lie in our folder and not in the trial's.

    No other word: a file that the program is told to write must be the trial's own.
    """
    script = next((number for number, word in enumerate(argv) if number and not word.startswith("-")), 0)
    mine = {0} if "/" in argv[0] else set()
    mine |= {script} if argv[script].endswith(_SCRIPTS) else set()
    return tuple(_absolute(word, folder) if number in mine else word for number, word in enumerate(argv))


def _absolute(word: str, folder: Path) -> str:
    return str(Path(word).absolute()) if Path(word).is_file() and not (folder / word).exists() else word


def _kill_session(process: subprocess.Popen[bytes]) -> None:
    """All of it: the leader may have ended and left others."""
    with suppress(ProcessLookupError, PermissionError):  # nobody is left; macOS says the second of zombies
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait(process: subprocess.Popen[bytes], seconds: float) -> int:
    """As `process.wait`, which looks only every 50 ms. TimeoutExpired as there."""
    if sys.platform == "linux":
        pidfd = os.pidfd_open(process.pid)
        try:
            waiting = select.poll()
            waiting.register(pidfd, select.POLLIN)
            if waiting.poll(seconds * 1000):
                return process.wait()
        finally:
            os.close(pidfd)
    return process.wait(0 if sys.platform == "linux" else seconds)


def _tail(output: int) -> str:
    size = os.fstat(output).st_size
    return os.pread(output, _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode(errors="replace")


def adopt_orphans() -> None:
    """From now on what our commands leave behind becomes our child, and we end when our owner does (Linux)."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def children() -> frozenset[int]:
    """Our children, living or dead (Linux; elsewhere orphans are nobody's, so there are none to find)."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat") if sys.platform == "linux" else ():
        with suppress(OSError, IndexError):  # it ended while we looked
            if int(stat.read_bytes().rpartition(b")")[2].split()[1]) == os.getpid():
                found.add(int(stat.parent.name))
    return frozenset(found)


def bury_strays(kept: Iterable[int]) -> None:
    """Kill and reap every child but `kept`; a killed one's own children become ours, and are next."""
    spared, deadline = frozenset(kept), time.monotonic() + _BURY_S
    while (strays := children() - spared) and time.monotonic() < deadline:
        for pid in strays:
            with suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
