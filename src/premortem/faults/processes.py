"""Faults of processes that we started: killed, frozen for a while, started late, ended and not reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.leases.lease import TTL_S, leased
from premortem.faults.leases.undo import Continue, KillGroup
from premortem.faults.strike import lifted, struck

_EFFECT_S = 5.0  # a signal takes effect within microseconds; a machine that needs longer is stuck
_LONGEST_BLOCK_S = 3600.0  # a command is no fault once it has started; the lease is for our death
_LATE = 'kill -STOP $$; exec "$@"'  # the process is there, and stands still before it is the command


def why_not() -> str:
    """Empty where a child can be stopped, continued and killed, else the exact reason."""
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            child.send_signal(signal.SIGSTOP)
            _await(lambda: state(child.pid) in "Tt", "a child: was not stopped by SIGSTOP")
            child.send_signal(signal.SIGCONT)
            child.kill()
            status = child.wait(_EFFECT_S)
        except (FaultError, OSError, subprocess.TimeoutExpired) as error:
            child.kill()
            return f"{error}"
    return "" if status == -signal.SIGKILL else f"a killed child ended with {status}"


def kill(pid: int, what: str) -> None:
    """SIGKILL: the process has no say in it. FaultError unless we, or a child of ours, started it."""
    os.kill(ours(pid, what), signal.SIGKILL)
    struck("killed", f"{what}, process {pid}")


@contextmanager
def frozen(pid: int, what: str, *, ttl_s: float = TTL_S) -> Iterator[None]:
    """SIGSTOP for the block: it is alive, holds its connections, and does nothing. FaultError as for `kill`.

    On lease: it goes on when we die, and after `ttl_s` seconds.
    """
    ours(pid, what)
    try:
        with leased(Continue.of(pid), what=f"{what}, process {pid}, is frozen", ttl_s=ttl_s):
            os.kill(pid, signal.SIGSTOP)
            _await(lambda: state(pid) in "TtZX", f"{what}, process {pid}: was not stopped by SIGSTOP")
            struck("frozen", f"{what}, process {pid}")
            yield
    finally:
        lifted("frozen", what)


@contextmanager
def started_late(
    command: Sequence[str], after_s: float, *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A command whose process is there at once and becomes the command only after `after_s` seconds.

    What slow starts look like to whoever looks for a process instead of an answer. It is killed when the block ends,
    unless it has ended, and when we die. `environment` is added to ours.
    """
    if not after_s > 0:
        raise FaultError(f"after_s={after_s}: would not be late; name a number of seconds above 0")
    process = subprocess.Popen(
        ["/bin/sh", "-c", _LATE, "sh", *command],
        env={**os.environ, **(environment or {})},
        cwd=folder,
        start_new_session=True,
    )
    name = f"{command[0]}, process {process.pid}"
    timer = threading.Timer(after_s, _go_on, (process,))
    try:
        with leased(KillGroup.of(process.pid), what=f"{name}, starts late", ttl_s=after_s + _LONGEST_BLOCK_S):
            _await(lambda: state(process.pid) in "TtZX", f"{name}: did not stand still before its start")
            struck("started late", f"{name}: starts after {after_s:g} s")
            timer.start()
            yield process
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        lifted("started late", name)


@contextmanager
def zombie() -> Iterator[int]:
    """A child that has ended and is not reaped, for the block: it takes a process number, and no signal ends it."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        struck("zombie", f"process {process.pid} has ended and waits to be reaped")
        yield process.pid
    finally:
        process.wait()
        lifted("zombie", f"process {process.pid}")


def zombies(pid: int = 0) -> tuple[int, ...]:
    """Children of a process of ours (without `pid`: of this one) that have ended and were not reaped."""
    parent = pid or os.getpid()
    return tuple(child for child in _children(parent) if state(child) == "Z")


def state(pid: int) -> str:
    """The kernel's letter for what a process does: R runs, S waits, T is stopped, Z has ended; X is not there."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0].decode()
    if Path("/proc/self").exists():
        return "X"
    return _asked("stat", pid)[:1] or "X"


def ours(pid: int, what: str) -> int:
    """`pid`, if it descends from this process. FaultError where it does not."""
    above = pid
    while above > 1:
        above = _parent(above)
        if above == os.getpid():
            return pid
    raise FaultError(
        f"{what}, process {pid}: is none that we started, and faults strike only those; start one to strike"
    )


def descendants() -> Iterator[int]:
    """Processes that we started, and those that they did. Linux; empty elsewhere."""
    queue = [os.getpid()]
    while queue:
        below = _children(queue.pop())
        queue += below
        yield from below


def _go_on(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it ended while we looked
            found += map(int, tasks.read_bytes().split())
    return found


def _parent(pid: int) -> int:
    """The parent's number, 0 when there is no such process."""
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    if Path("/proc/self").exists():
        return 0
    return int(_asked("ppid", pid) or 0)


def _asked(column: str, pid: int) -> str:
    """What ps says where there is no /proc."""
    answer = subprocess.run(["ps", "-o", f"{column}=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _await(reached: Callable[[], bool], otherwise: str) -> None:
    """Look until it is so: a signal is sent before it has taken effect."""
    until = time.monotonic() + _EFFECT_S
    while not reached():
        if time.monotonic() > until:
            raise FaultError(f"{otherwise} within {_EFFECT_S:g} s; the machine may be overloaded, try again")
        time.sleep(0.0005)
