"""The target's memory: strings, byte vectors and addresses that a system call points at.

Read through /proc/PID/mem, opened anew each time: a process that has called exec since has another memory.
Whatever cannot be read is empty: the call itself will then fail with EFAULT, which is the program's own business.
"""

from __future__ import annotations

import os
import socket
import struct

_LONGEST_PATH = 4096  # bytes, PATH_MAX
_MOST_BYTES = 0x7FFFF000  # what one call of Linux writes at most
_MOST_VECTORS = 1024  # UIO_MAXIOV
_VECTOR = struct.Struct("=QQ")  # struct iovec
_MESSAGE = struct.Struct("=QIxxxxQQ")  # struct msghdr: name, its length, vectors, how many
_POINTED = struct.Struct("=Q")


def read(thread: int, address: int, count: int) -> bytes:
    """Up to `count` bytes of `thread`'s memory from `address` on."""
    try:
        memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.pread(memory, min(count, _MOST_BYTES), address)
    except (OSError, OverflowError):  # not mapped; or no address at all
        return b""
    finally:
        os.close(memory)


def write(thread: int, address: int, data: bytes) -> int:
    """Put `data` there. OSError where that is not its memory."""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDWR)
    try:
        return os.pwrite(memory, data, address)
    finally:
        os.close(memory)


def string(thread: int, address: int) -> str:
    """The string that ends with a zero byte, as a path is decoded."""
    return os.fsdecode(read(thread, address, _LONGEST_PATH).partition(b"\0")[0])


def word(thread: int, address: int) -> int:
    """The 64-bit number that is pointed at; 0 where there is none."""
    data = read(thread, address, _POINTED.size) if address else b""
    return int(_POINTED.unpack(data)[0]) if len(data) == _POINTED.size else 0


def vectors(thread: int, address: int, count: int) -> list[tuple[int, int]]:
    """The (address, bytes) pairs of an array of `count` iovec."""
    data = read(thread, address, _VECTOR.size * min(count, _MOST_VECTORS))
    return list(_VECTOR.iter_unpack(data[: len(data) // _VECTOR.size * _VECTOR.size]))


def message(thread: int, address: int) -> list[tuple[int, int]]:
    """The (address, bytes) pairs of a msghdr."""
    data = read(thread, address, _MESSAGE.size)
    if len(data) < _MESSAGE.size:
        return []
    _, _, first, count = _MESSAGE.unpack(data)
    return vectors(thread, first, count)


def gather(thread: int, pieces: list[tuple[int, int]], most: int = _MOST_BYTES) -> bytes:
    """The bytes of `pieces`, one after the other, `most` of them."""
    if len(pieces) == 1:
        return read(thread, pieces[0][0], min(pieces[0][1], most))
    whole = bytearray()
    for address, count in pieces:
        whole += read(thread, address, min(count, most - len(whole)))
    return bytes(whole)


def address(data: bytes) -> str:
    """A sockaddr in words: "127.0.0.1:5432", "[::1]:80", "/run/postgres/.s", "@abstract"; empty for any other kind."""
    family = int.from_bytes(data[:2], "little")
    if family == socket.AF_INET and len(data) >= 8:  # noqa: PLR2004 - two for the port, four for the host
        return f"{socket.inet_ntop(socket.AF_INET, data[4:8])}:{int.from_bytes(data[2:4], 'big')}"
    if family == socket.AF_INET6 and len(data) >= 24:  # noqa: PLR2004 - the host stands at 8 to 24
        return f"[{socket.inet_ntop(socket.AF_INET6, data[8:24])}]:{int.from_bytes(data[2:4], 'big')}"
    if family == socket.AF_UNIX:
        return unix_name(data[2:])
    return ""


def unix_name(name: bytes) -> str:
    """The path of a Unix socket; an abstract one begins with "@"."""
    if name[:1] == b"\0":
        return "@" + os.fsdecode(name[1:].rstrip(b"\0")) if name.strip(b"\0") else ""
    return os.fsdecode(name.partition(b"\0")[0])
