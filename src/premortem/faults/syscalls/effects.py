"""Decisions carried out for real, on a call that waits for its answer."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import termios
from array import array
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from premortem.errors import FaultError
from premortem.faults.syscalls import memory
from premortem.faults.syscalls.calls import READS, SENDS, Call
from premortem.faults.syscalls.decisions import Decision, Drop, Fail, Go, Kill, Pause, Sever, Short
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.reading import Arguments, pieces
from premortem.faults.syscalls.structs import take_descriptor

_WRITTEN = frozenset({"write", "pwrite", "writev", "pwritev"})
_BYTES_OUT = _WRITTEN | SENDS
_BYTES_IN = frozenset({"read", "pread", "recvfrom"})
_NO_RESULT = frozenset(
    {"fsync", "fdatasync", "sync_file_range", "syncfs", "sync", "truncate", "ftruncate", "fallocate"}
    | {"rename", "unlink", "rmdir", "mkdir", "link", "symlink", "shutdown"}
)
_NOT_CONNECTED = frozenset({"connect", "accept"})


class Waiting(NamedTuple):
    """A call that waits: the kernel's number for it, who makes it, and what is known of it."""

    identity: int
    thread: int
    process: int
    call: Call
    arguments: Arguments
    operation: Operation


class Answer(NamedTuple):
    """What the kernel is to tell the program: a result, or an error (negative), or nothing: let the call go on.

    `strikes`: the program is worse off for it.
    """

    value: int = 0
    error: int = 0
    go_on: bool = False
    strikes: bool = True


@dataclass(frozen=True, slots=True)
class Struck:
    """A decision that took effect, and on what."""

    operation: Operation
    decision: Decision


GO_ON = Answer(go_on=True, strikes=False)


def can_strike(decision: Decision, operation: Operation) -> bool:
    """Whether that can happen to that call: an fsync has no half, and an open cannot be pretended."""
    if isinstance(decision, Short):
        return operation.call in _BYTES_OUT | _BYTES_IN and (operation.size or 0) > 1
    if isinstance(decision, Drop):
        return operation.call in _BYTES_OUT | _NO_RESULT
    if isinstance(decision, Sever):
        return operation.kind == "socket" and operation.call not in _NOT_CONNECTED
    return True


def carry_out(decision: Decision, waiting: Waiting) -> Answer | None:  # noqa: PLR0911 - a table of seven decisions
    """Do it, and say what to answer; None: nobody is left to be answered. FaultError where it cannot be done."""
    if not can_strike(decision, waiting.operation):
        raise FaultError(
            f"{decision}: cannot happen to {waiting.operation}; ask `can_strike` first, or choose another effect"
        )
    try:
        match decision:
            case Go() | Pause():
                return GO_ON
            case Fail(errno=number):
                return Answer(error=-number)
            case Kill(family=family):
                if not family:  # else the keeper kills all of them, and this one waits in its call until then
                    os.kill(waiting.process, signal.SIGKILL)
                return None
            case Drop():
                return _dropped(waiting)
            case Short():
                return _short(waiting)
            case Sever(errno=number):
                _on_descriptor(waiting, _shut_down)
                return Answer(error=-number) if number else Answer(go_on=True)
    except ProcessLookupError:  # it was killed meanwhile
        return None


def _dropped(waiting: Waiting) -> Answer:
    """The position in the file moves on: what follows is written where the program thinks that it is."""
    size = waiting.operation.size or 0
    if waiting.call.name in {"write", "writev"} and waiting.operation.kind == "file":
        _on_descriptor(waiting, lambda ours: os.lseek(ours, size, os.SEEK_CUR))
    return Answer(value=size if waiting.call.name in _BYTES_OUT else 0)


def _short(waiting: Waiting) -> Answer:
    half = _half_read if waiting.call.name in READS else _half_written
    try:
        done = _on_descriptor(waiting, lambda ours: half(ours, waiting))
    except BlockingIOError:  # nothing to be read yet, or no room to send: the call may wait for it, we may not
        return GO_ON
    except OSError as error:
        return Answer(error=-(error.errno or errno.EIO))
    return Answer(value=done) if done else GO_ON


def _half_read(ours: int, waiting: Waiting) -> int:
    """Half of what there is to read: half of a large buffer would be all of a small answer. 0: no two bytes."""
    _, thread, _, call, arguments, operation = waiting
    connected = operation.kind == "socket"
    half = min(operation.size or 0, _unread(ours) if connected else _left(ours, call, arguments)) // 2
    if not half:
        return 0
    if connected:
        peek = arguments[3] & socket.MSG_PEEK if call.name == "recvfrom" else 0  # what is looked at is to stay there
        with socket.socket(fileno=os.dup(ours)) as connection:
            data = connection.recv(half, socket.MSG_DONTWAIT | peek)
    else:
        data = os.read(ours, half) if call.offset is None else os.pread(ours, half, arguments[call.offset])
    assert call.buffer is not None
    return memory.write(thread, arguments[call.buffer], data)


def _left(ours: int, call: Call, arguments: Arguments) -> int:
    """Bytes of a file from where it is read."""
    position = os.lseek(ours, 0, os.SEEK_CUR) if call.offset is None else arguments[call.offset]
    return max(0, os.fstat(ours).st_size - position)


def _half_written(ours: int, waiting: Waiting) -> int:
    _, thread, _, call, arguments, operation = waiting
    half = (operation.size or 0) // 2
    data = memory.gather(thread, pieces(thread, call, arguments), half)
    if operation.kind == "socket":
        with socket.socket(fileno=os.dup(ours)) as connection:
            return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    return os.write(ours, data) if call.offset is None else os.pwrite(ours, data, arguments[call.offset])


def _shut_down(ours: int) -> int:
    """No more of either direction; what has arrived and was not read is lost, too.

    Otherwise a connection that is cut at the `recv` of an answer would still hand that answer over: the kernel reads
    out what it holds first. After the shutdown it takes nothing more in.
    """
    with socket.socket(fileno=os.dup(ours)) as connection, suppress(OSError):  # it is down already, or a listener
        connection.shutdown(socket.SHUT_RDWR)
        while waiting := _unread(ours):
            connection.recv(waiting, socket.MSG_DONTWAIT)
    return 0


def _unread(ours: int) -> int:
    """Bytes; asked beforehand, because a `recv` too many would take the error that the program is to see."""
    count = array("i", [0])
    fcntl.ioctl(ours, termios.FIONREAD, count)
    return count[0]


def _on_descriptor(waiting: Waiting, act: Callable[[int], int]) -> int:
    """`act` on a descriptor of ours for the open file that the call is about."""
    try:
        ours = take_descriptor(waiting.process, waiting.operation.descriptor)
    except PermissionError as error:
        raise FaultError(
            f"{waiting.operation}: pidfd_getfd is refused here ({error}), and without it no connection can be cut and"
            " no write shortened or dropped; give CAP_SYS_PTRACE, or choose an errno or kill"
        ) from error
    try:
        return act(ours)
    finally:
        os.close(ours)
