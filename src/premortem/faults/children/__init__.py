"""A function or a command run in a child process: prepared before it begins, waited for with a time limit.

Limits, namespaces and faked clocks belong to a process, so whatever is to live under one runs in a child. A function
is forked, not started anew: it sees the memory of its caller, and its answer (or its error, with the child's
traceback as a note) comes back pickled. Forking a process that has threads is safe for what does not need their
locks; start such things as a command. The child leads a process group, which is killed when its time is over.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast, overload

from premortem.errors import Hung, WorkerDiedError
from premortem.faults.children.life import Life, Prepare, flush

T = TypeVar("T")

_LOOK_S = 0.02  # how often a child is looked at that says nothing; what it says wakes us at once
_ENDING_S = 0.001  # how often one is looked at that has said all and is about to end


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit status or minus the signal's number, and what it wrote to both of its outputs."""

    status: int
    output: str

    @property
    def cause(self) -> str:
        """Why it ended, in words."""
        return f"killed by {signal.Signals(-self.status).name}" if self.status < 0 else f"exit status {self.status}"


@overload
def run(
    start: Sequence[str],
    *,
    prepare: Prepare | None = None,
    time_s: float = 10.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Ended: ...


@overload
def run(
    start: Callable[..., T],
    *arguments: object,
    prepare: Prepare | None = None,
    time_s: float = 10.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> T: ...


def run(
    start: Callable[..., T] | Sequence[str],
    *arguments: object,
    prepare: Prepare | None = None,
    time_s: float = 10.0,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> T | Ended:
    """Run `start`, a function of `arguments` or a command, in a child that has called `prepare` first.

    A function's value is returned and its error raised; a command gives `Ended`. `environment` is added to ours.
    Hung when it takes more than `time_s` seconds; WorkerDiedError when a function's process died before it could
    answer; FaultError when a command cannot be started, or when `prepare` could not do its part.
    """
    answer, output = os.pipe(), os.pipe()
    flush()  # or the child would print what we have not printed yet once more
    with forking():
        pid = os.fork()
    if pid == 0:
        Life(start, arguments, prepare, environment or {}, folder, answer[1], output[1]).live()
    for end in (answer[1], output[1]):
        os.close(end)
    try:
        said, printed, status = _listen(pid, answer[0], output[0], time_s)
    finally:
        for end in (answer[0], output[0]):
            os.close(end)
    ended = Ended(status, printed.decode("utf-8", "replace"))
    if not said and not callable(start):
        return ended
    if not said:
        raise WorkerDiedError(getattr(start, "__qualname__", repr(start)), ended.cause)
    returned, value = pickle.loads(said)  # noqa: S301 - written by our own fork a moment ago
    if returned:
        return cast("T", value)
    raise value


@contextmanager
def forking() -> Iterator[None]:
    """Fork without the warning that a process with threads is told: the module's docstring says it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@contextmanager
def _reaped(pid: int) -> Iterator[None]:
    """Whatever happens in the block, the child and its group are gone after it."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError, PermissionError):  # macOS: not permitted where all have ended
            os.killpg(pid, signal.SIGKILL)
        with suppress(ChildProcessError, ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _listen(pid: int, answer: int, output: int, time_s: float) -> tuple[bytes, bytes, int]:
    """All that the child says until it ends, and its status; its own children may hold the pipes open longer."""
    heard: dict[int, bytearray] = {answer: bytearray(), output: bytearray()}
    poll = select.poll()
    for end in heard:
        os.set_blocking(end, False)
        poll.register(end, select.POLLIN)
    until = time.monotonic() + time_s
    with _reaped(pid):
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            talking = [_drain(poll, end, so_far) for end, so_far in heard.items()]
            if ended:
                return bytes(heard[answer]), bytes(heard[output]), os.waitstatus_to_exitcode(status)
            if time.monotonic() >= until:
                raise Hung(time_s)
            poll.poll(1000 * (_LOOK_S if any(talking) else _ENDING_S))


def _drain(poll: select.poll, end: int, heard: bytearray) -> bool:
    """Take what there is; whether more may come."""
    with suppress(BlockingIOError):
        while piece := os.read(end, 1 << 16):
            heard += piece
        with suppress(KeyError):  # all was said before
            poll.unregister(end)
        return False
    return True
