"""The system calls that can be watched, as one table: names, numbers, and where each keeps its arguments.

Numbers are those of Linux on x86-64 and on aarch64 (`asm/unistd_64.h`, `asm-generic/unistd.h`). Variants that do the
same have one name, that of the manual page: `openat`, `creat` and `openat2` are all `open`, so a recipe means the same
whichever of them a C library prefers. A position is that of an argument, counted from 0; `None`: it has none.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

Family = Literal["file", "socket", "read"]

FIRST_DESCRIPTOR = 3  # below it are the standard streams, which are nobody's data


@dataclass(frozen=True, slots=True)
class Call:
    """One entry of the kernel's table. A number is None where the architecture does without that variant."""

    name: str
    x86_64: int | None
    aarch64: int | None
    families: tuple[Family, ...]
    descriptor: int | None = None
    buffer: int | None = None  # the bytes themselves; `count` says how many
    vector: int | None = None  # an array of iovec; `count` says how many
    message: int | None = None  # a msghdr
    address: int | None = None  # a sockaddr; `count` says how many bytes
    count: int | None = None
    offset: int | None = None
    length: int | None = None  # of the file from now on
    folder: int | None = None  # the descriptor of the folder that `path` starts from
    path: int | None = None
    to_folder: int | None = None
    to: int | None = None
    text: int | None = None  # a string that is stored as it is
    flags: int | None = None
    how: int | None = None  # a struct open_how, which begins with the flags
    source: int | None = None  # the descriptor that is copied from
    source_offset: int | None = None  # where its offset is kept


_FILE: tuple[Family, ...] = ("file",)
_BOTH: tuple[Family, ...] = ("file", "socket")
_SOCKET: tuple[Family, ...] = ("socket",)
_READ: tuple[Family, ...] = ("read",)
_ANY_READ: tuple[Family, ...] = ("socket", "read")

CALLS: tuple[Call, ...] = (
    Call("open", 2, None, _FILE, path=0, flags=1),
    Call("open", 257, 56, _FILE, folder=0, path=1, flags=2),
    Call("open", 85, None, _FILE, path=0),  # creat
    Call("open", 437, 437, _FILE, folder=0, path=1, how=2),
    Call("write", 1, 64, _BOTH, descriptor=0, buffer=1, count=2),
    Call("pwrite", 18, 68, _FILE, descriptor=0, buffer=1, count=2, offset=3),
    Call("writev", 20, 66, _BOTH, descriptor=0, vector=1, count=2),
    Call("pwritev", 296, 70, _FILE, descriptor=0, vector=1, count=2, offset=3),
    Call("pwritev", 328, 287, _FILE, descriptor=0, vector=1, count=2, offset=3),
    Call("sendfile", 40, 71, _BOTH, descriptor=0, source=1, source_offset=2, count=3),
    Call("copy_file_range", 326, 285, _FILE, descriptor=2, source=0, source_offset=1, offset=3, count=4),
    Call("fsync", 74, 82, _FILE, descriptor=0),
    Call("fdatasync", 75, 83, _FILE, descriptor=0),
    Call("sync_file_range", 277, 84, _FILE, descriptor=0),
    Call("syncfs", 306, 267, _FILE, descriptor=0),
    Call("sync", 162, 81, _FILE),
    Call("truncate", 76, 45, _FILE, path=0, length=1),
    Call("ftruncate", 77, 46, _FILE, descriptor=0, length=1),
    Call("fallocate", 285, 47, _FILE, descriptor=0, flags=1, offset=2, count=3),
    Call("rename", 82, None, _FILE, path=0, to=1),
    Call("rename", 264, 38, _FILE, folder=0, path=1, to_folder=2, to=3),
    Call("rename", 316, 276, _FILE, folder=0, path=1, to_folder=2, to=3, flags=4),
    Call("unlink", 87, None, _FILE, path=0),
    Call("unlink", 263, 35, _FILE, folder=0, path=1, flags=2),
    Call("rmdir", 84, None, _FILE, path=0),
    Call("mkdir", 83, None, _FILE, path=0),
    Call("mkdir", 258, 34, _FILE, folder=0, path=1),
    Call("link", 86, None, _FILE, path=0, to=1),
    Call("link", 265, 37, _FILE, folder=0, path=1, to_folder=2, to=3),
    Call("symlink", 88, None, _FILE, text=0, path=1),
    Call("symlink", 266, 36, _FILE, text=0, folder=1, path=2),
    Call("read", 0, 63, _ANY_READ, descriptor=0, buffer=1, count=2),
    Call("pread", 17, 67, _READ, descriptor=0, buffer=1, count=2, offset=3),
    Call("readv", 19, 65, _ANY_READ, descriptor=0, vector=1, count=2),
    Call("preadv", 295, 69, _READ, descriptor=0, vector=1, count=2, offset=3),
    Call("preadv", 327, 286, _READ, descriptor=0, vector=1, count=2, offset=3),
    Call("connect", 42, 203, _SOCKET, descriptor=0, address=1, count=2),
    Call("accept", 43, 202, _SOCKET, descriptor=0),
    Call("accept", 288, 242, _SOCKET, descriptor=0),
    Call("sendto", 44, 206, _SOCKET, descriptor=0, buffer=1, count=2),
    Call("sendmsg", 46, 211, _SOCKET, descriptor=0, message=1),
    Call("sendmmsg", 307, 269, _SOCKET, descriptor=0),
    Call("recvfrom", 45, 207, _SOCKET, descriptor=0, buffer=1, count=2),
    Call("recvmsg", 47, 212, _SOCKET, descriptor=0, message=1),
    Call("recvmmsg", 299, 243, _SOCKET, descriptor=0),
    Call("shutdown", 48, 210, _SOCKET, descriptor=0),
)

# What the manual pages and `strace` also call them.
OTHER_NAMES = {
    "openat": "open",
    "openat2": "open",
    "creat": "open",
    "pwrite64": "pwrite",
    "pwritev2": "pwritev",
    "pread64": "pread",
    "preadv2": "preadv",
    "renameat": "rename",
    "renameat2": "rename",
    "replace": "rename",
    "unlinkat": "unlink",
    "mkdirat": "mkdir",
    "linkat": "link",
    "symlinkat": "symlink",
    "accept4": "accept",
    "send": "sendto",
    "recv": "recvfrom",
}
NAMES = frozenset(call.name for call in CALLS)

WRITES = frozenset({"write", "pwrite", "writev", "pwritev", "sendfile", "copy_file_range"})
SENDS = frozenset({"write", "writev", "sendto", "sendmsg"})
READS = frozenset({"read", "pread", "readv", "preadv", "recvfrom", "recvmsg", "recvmmsg"})


def numbered(watch: frozenset[str], machine: str = "") -> dict[int, Call]:
    """The watched calls by their number on `machine` (this one). "read" adds the reads of files to those of sockets."""
    machine = machine or platform.machine()
    chosen = [call for call in CALLS if watch.intersection(call.families)]
    numbers = [(call.aarch64 if machine == "aarch64" else call.x86_64, call) for call in chosen]
    return {number: call for number, call in numbers if number is not None}
