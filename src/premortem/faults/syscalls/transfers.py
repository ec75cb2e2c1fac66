"""Half of a call that moves bytes, done in the program's place: what POSIX allows at any time, on a disk or a wire.

Each works on descriptors of ours for the program's open files, so positions in them are the program's, too; offsets
that the program keeps in its own memory move with them, as the kernel would move them.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
from array import array

from premortem.faults.syscalls import memory
from premortem.faults.syscalls.calls import Call
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.reading import Arguments, pieces

READS = frozenset({"read", "pread", "readv", "preadv", "recvfrom", "recvmsg"})
WRITES = frozenset({"write", "pwrite", "writev", "pwritev", "sendto", "sendmsg"})
COPIES = frozenset({"sendfile", "copy_file_range"})

_HERE = 0xFFFFFFFFFFFFFFFF  # the offset of preadv2 and pwritev2 that says: where the file stands
_WORD = struct.Struct("=Q")
_LENGTHS = struct.Struct("=IxxxxQQQQI")  # of a msghdr, from the length of its name on: what the kernel fills in
_AFTER_NAME = 8


def unread(ours: int) -> int:
    """Bytes; asked beforehand, because a `recv` too many would take the error that the program is to see."""
    count = array("i", [0])
    fcntl.ioctl(ours, termios.FIONREAD, count)
    return count[0]


def would_wait(ours: int) -> bool:
    """Whether a read of this connection would wait for its peer."""
    if fcntl.fcntl(ours, fcntl.F_GETFL) & os.O_NONBLOCK:
        return False
    waiting = select.poll()
    waiting.register(ours, select.POLLIN)
    return not waiting.poll(0)


def half_read(ours: int, thread: int, call: Call, arguments: Arguments, operation: Operation) -> int:
    """Half of what there is to read: half of a large buffer would be all of a small answer. 0: no two bytes."""
    connected = operation.kind == "socket"
    at = _offset(call, arguments)
    half = min(operation.size or 0, unread(ours) if connected else _left(ours, at)) // 2
    if not half or not takes_only_bytes(thread, call, arguments):
        return 0
    if connected:
        flags = arguments[3] if call.name == "recvfrom" else arguments[2] if call.name == "recvmsg" else 0
        with socket.socket(fileno=os.dup(ours)) as connection:  # what is only looked at is to stay there
            if connection.type != socket.SOCK_STREAM:  # a datagram has no halves
                return 0
            data = connection.recv(half, socket.MSG_DONTWAIT | flags & socket.MSG_PEEK)
    else:
        data = os.read(ours, half) if at is None else os.pread(ours, half, at)
    done = 0
    for address, count in pieces(thread, call, arguments):
        done += memory.write(thread, address, data[done : done + count])
    return done


def half_written(ours: int, thread: int, call: Call, arguments: Arguments, operation: Operation) -> int:
    """Half of what was to be written or sent."""
    data = memory.gather(thread, pieces(thread, call, arguments), (operation.size or 0) // 2)
    return _put(ours, data, _offset(call, arguments), operation)


def copied(  # noqa: PLR0913, PLR0917 - both ends, and the call
    out: int, source: int, thread: int, call: Call, arguments: Arguments, operation: Operation, *, drop: bool
) -> int:
    """Half of what was to be copied from one descriptor to the other; or, to `drop` it, nothing, and all is told."""
    assert call.source_offset is not None
    size, kept = operation.size or 0, arguments[call.source_offset]
    into = arguments[call.offset] if call.offset is not None else 0
    start = memory.word(thread, kept) if kept else os.lseek(source, 0, os.SEEK_CUR)
    at = memory.word(thread, into) if into else None
    if drop:
        done = size
        if not into and operation.kind == "file":
            os.lseek(out, size, os.SEEK_CUR)
    else:
        done = _put(out, os.pread(source, size // 2, start), at, operation)
    if kept:
        memory.write(thread, kept, _WORD.pack(start + done))
    else:
        os.lseek(source, start + done, os.SEEK_SET)
    if into and at is not None:
        memory.write(thread, into, _WORD.pack(at + done))
    return done


def _put(ours: int, data: bytes, at: int | None, operation: Operation) -> int:
    if operation.kind == "socket":
        with socket.socket(fileno=os.dup(ours)) as connection:
            if connection.type != socket.SOCK_STREAM:
                return 0
            return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    return os.write(ours, data) if at is None else os.pwrite(ours, data, at)


def _offset(call: Call, arguments: Arguments) -> int | None:
    """Where in the file; None: where it stands."""
    if call.offset is None or arguments[call.offset] == _HERE:
        return None
    return arguments[call.offset]


def _left(ours: int, at: int | None) -> int:
    """Bytes of a file from where it is read."""
    position = os.lseek(ours, 0, os.SEEK_CUR) if at is None else at
    return max(0, os.fstat(ours).st_size - position)


def takes_only_bytes(thread: int, call: Call, arguments: Arguments) -> bool:
    """Whether it is bytes alone that are asked for; and if so, a msghdr says that nothing else has come."""
    if call.message is None:
        return True
    address = arguments[call.message] + _AFTER_NAME
    raw = memory.read(thread, address, _LENGTHS.size)
    if len(raw) < _LENGTHS.size:
        return False
    _, vectors, count, control, room, _ = _LENGTHS.unpack(raw)
    if room:  # descriptors may come with the bytes, and we cannot hand those over
        return False
    memory.write(thread, address, _LENGTHS.pack(0, vectors, count, control, room, 0))
    return True
