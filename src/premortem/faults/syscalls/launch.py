"""Start a program, or fork a callable, whose watched calls wait for us.

The child installs the filter on itself and hands its listener over through a socket that lies at descriptor 0, which
the filter does not watch: that needs no permission (SCM_RIGHTS), where taking it with pidfd_getfd would.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.syscalls import keeper
from premortem.faults.syscalls.structs import install

Start = Sequence[str] | Callable[[], object]

_HANDOVER_S = 10.0
_CANNOT_EXECUTE = 126
_QUIET = {"PYTHONDONTWRITEBYTECODE": "1"}  # .pyc files are no part of what a program does


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start, where, under which filter. `time_s`: seconds after which the keeper ends it by itself."""

    start: Start
    filter: bytes
    machine: str
    folder: Path
    environment: Mapping[str, str] | None
    time_s: float


@dataclass(frozen=True, slots=True)
class Started:
    """The keeper's process, and descriptors: the kernel's questions, the status to come, and all that is printed."""

    keeper: int
    listener: int
    status: int
    output: int


def launch(what: Launch) -> Started:
    """Start it. ConfigurationError: no such program. FaultError: the kernel refuses the filter, with its reason."""
    command = _command(what)
    ours, theirs = socket.socketpair()
    status, status_end = os.pipe()
    output, output_end = os.pipe()
    supervisor = os.getpid()
    with warnings.catch_warnings():
        # A fork while there are other threads: the child of a command does nothing but exec; a callable is on its own.
        warnings.simplefilter("ignore", DeprecationWarning)
        process = os.fork()
    if not process:
        ours.close()
        _child(what, command, theirs, (status_end, output_end), supervisor)
    for end in (status_end, output_end):
        os.close(end)
    theirs.close()
    os.set_blocking(output, False)
    try:
        return Started(process, _listener(ours), status, output)
    except BaseException:
        os.close(status)
        os.close(output)
        os.waitpid(process, 0)
        raise
    finally:
        ours.close()


def _command(what: Launch) -> tuple[str, ...]:
    """The absolute path of the program, and its arguments; empty for a callable."""
    if callable(what.start):
        return ()
    if isinstance(what.start, str) or not what.start:
        raise ConfigurationError(f"{what.start!r}: has to be a list, the program and its arguments; no shell is used")
    environment = os.environ if what.environment is None else what.environment
    path = shutil.which(what.start[0], path=environment.get("PATH"))
    if path is None:
        raise ConfigurationError(f"{what.start[0]}: there is no such program to start; name one, or its whole path")
    return (str(Path(path).absolute()), *what.start)


def _listener(ours: socket.socket) -> int:
    """What the child hands over, or FaultError with its reason."""
    ours.settimeout(_HANDOVER_S)
    word, descriptors, _, _ = socket.recv_fds(ours, 4096, 1)
    if not descriptors:
        raise FaultError(
            f"{word.decode() or 'the process ended before it could be watched'}; run `premortem doctor` to see what"
            " this machine allows"
        )
    os.set_inheritable(descriptors[0], False)
    ours.sendall(b"+")
    return descriptors[0]


def _child(
    what: Launch, command: tuple[str, ...], theirs: socket.socket, pipes: tuple[int, int], supervisor: int
) -> NoReturn:
    """The keeper and, below it, the target; neither ever returns into the program that was forked."""
    try:
        keeper.prepare(supervisor)
        target = os.fork()
        if not target:
            _target(what, command, theirs, pipes)
        keeper.keep(target, pipes[0], what.time_s)
    except BaseException:  # noqa: BLE001 - whatever it is, it must not unwind into the caller's code
        os._exit(1)
    os._exit(0)


def _target(what: Launch, command: tuple[str, ...], theirs: socket.socket, pipes: tuple[int, int]) -> NoReturn:
    code = _CANNOT_EXECUTE
    try:
        keeper.release()
        _streams(theirs, pipes[1])
        os.close(pipes[0])
        environment = {**(os.environ if what.environment is None else what.environment), **_QUIET}
        os.chdir(what.folder)
        if command:
            keeper.close_all_but(0, 1, 2)
        _hand_over(what)
        if command:
            os.execve(command[0], command[1:], environment)  # noqa: S606 - no shell, on purpose
        code = _call(what.start, environment)
    except BaseException as error:  # noqa: BLE001 - as above; it is told where the program's own errors are told
        os.write(2, f"{command[:1]}: {error}\n".encode())
    os._exit(code)


def _streams(theirs: socket.socket, output: int) -> None:
    """Descriptor 0 is the way to hand over, until `_hand_over` is done; 1 and 2 are kept for the report."""
    os.dup2(theirs.fileno(), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    theirs.close()


def _hand_over(what: Launch) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    with socket.socket(fileno=0) as way:
        try:
            listener = install(what.filter, what.machine)
        except OSError as error:
            way.sendall(f"seccomp user notification: {error}".encode())
            os._exit(_CANNOT_EXECUTE)
        socket.send_fds(way, [b"+"], [listener])
        way.recv(1)  # from here on every watched call is answered
        os.close(listener)
        way.detach()
    os.dup2(nothing, 0)
    os.close(nothing)


def _call(start: Start, environment: Mapping[str, str]) -> int:
    """Run the callable; its exit code, and its traceback among what it printed."""
    assert callable(start)
    os.environ.update(environment)
    sys.stdin = sys.__stdin__
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - as above
    try:
        start()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
    except BaseException:  # noqa: BLE001 - the process ends here, and says why
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code & 0xFF
