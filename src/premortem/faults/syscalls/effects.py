"""Decisions carried out for real, on a call that waits for its answer."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from premortem.errors import FaultError
from premortem.faults.syscalls.calls import Call
from premortem.faults.syscalls.decisions import Decision, Drop, Fail, Go, Kill, Pause, Sever, Short
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.reading import Arguments
from premortem.faults.syscalls.structs import take_descriptor
from premortem.faults.syscalls.transfers import (
    COPIES,
    READS,
    WRITES,
    copied,
    half_read,
    half_written,
    takes_only_bytes,
    unread,
    would_wait,
)

_BYTES_OUT = WRITES | COPIES
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
        return operation.call in _BYTES_OUT | READS and (operation.size or 0) > 1
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
                return _severed(waiting, number)
    except ProcessLookupError:  # it was killed meanwhile
        return None


def has_to_wait(decision: Decision, waiting: Waiting) -> bool:
    """Whether there is nothing yet that it could happen to: half of an answer that has still to come.

    The program would wait for it in its call, so the call can wait as well. FaultError as `carry_out`.
    """
    if not isinstance(decision, Short) or waiting.call.name not in READS or waiting.operation.kind != "socket":
        return False
    try:
        return bool(_on_descriptor(waiting, would_wait))
    except OSError:  # gone, or no socket any more: whatever comes of it shows in `carry_out`
        return False


def _dropped(waiting: Waiting) -> Answer:
    """The position in the file moves on: what follows is written where the program thinks that it is."""
    size = waiting.operation.size or 0
    if waiting.call.name in COPIES:
        _copied(waiting, drop=True)
    elif waiting.call.name in {"write", "writev"} and waiting.operation.kind == "file":
        _on_descriptor(waiting, lambda ours: os.lseek(ours, size, os.SEEK_CUR))
    return Answer(value=size if waiting.call.name in _BYTES_OUT else 0)


def _short(waiting: Waiting) -> Answer:
    call, told = waiting.call, (waiting.thread, waiting.call, waiting.arguments, waiting.operation)
    try:
        if call.name in COPIES:
            done = _copied(waiting, drop=False)
        else:
            half = half_read if call.name in READS else half_written
            done = _on_descriptor(waiting, lambda ours: half(ours, *told))
    except BlockingIOError:  # nothing to be read yet, or no room to send: the call may wait for it, we may not
        return GO_ON
    except OSError as error:
        return Answer(error=-(error.errno or errno.EIO))
    return Answer(value=done) if done else GO_ON


def _copied(waiting: Waiting, *, drop: bool) -> int:
    call, told = waiting.call, (waiting.thread, waiting.call, waiting.arguments, waiting.operation)
    assert call.source is not None
    source = waiting.arguments[call.source] & 0xFFFFFFFF
    return _on_descriptor(
        waiting, lambda out: _on_descriptor(waiting, lambda of: copied(out, of, *told, drop=drop), source)
    )


def _severed(waiting: Waiting, number: int) -> Answer:
    """Cut off, and the errno if there is one; else a read is at its end, and the kernel answers all other calls.

    A read that were let go on would be at its end or be reset, depending on whether the peer has just sent more: the
    program that takes the end for the end of an answer would be found one time and missed the next.
    """
    _on_descriptor(waiting, _shut_down)
    if number:
        return Answer(error=-number)
    at_its_end = waiting.call.name in READS and takes_only_bytes(waiting.thread, waiting.call, waiting.arguments)
    return Answer() if at_its_end else Answer(go_on=True)


def _shut_down(ours: int) -> int:
    """No more of either direction; what has arrived and was not read is lost, too.

    Otherwise a connection that is cut at the `recv` of an answer would still hand that answer over: the kernel reads
    out what it holds first. After the shutdown it takes nothing more in.
    """
    with socket.socket(fileno=os.dup(ours)) as connection, suppress(OSError):  # it is down already, or a listener
        connection.shutdown(socket.SHUT_RDWR)
        while waiting := unread(ours):
            connection.recv(waiting, socket.MSG_DONTWAIT)
    return 0


def _on_descriptor(waiting: Waiting, act: Callable[[int], int], descriptor: int | None = None) -> int:
    """`act` on a descriptor of ours for the open file that the call is about, or for another one of the program's."""
    try:
        ours = take_descriptor(
            waiting.process, waiting.operation.descriptor if descriptor is None else descriptor
        )  # fmt: skip
    except PermissionError as error:
        raise FaultError(
            f"{waiting.operation}: pidfd_getfd is refused here ({error}), and without it no connection can be cut and"
            " no write shortened or dropped; give CAP_SYS_PTRACE, or choose an errno or kill"
        ) from error
    try:
        return act(ours)
    finally:
        os.close(ours)
