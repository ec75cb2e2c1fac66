"""What a number is in another process: which file, or which connection.

Law: asked anew at every call, with one readlink of 2 us. A cache by number would have to see every close, dup, exec
and inheritance, and would be wrong silently. What is kept is only what a link's text says for good: a socket's inode
is its own for as long as it lives.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from premortem.faults.syscalls import memory
from premortem.faults.syscalls.operations import Kind
from premortem.faults.syscalls.structs import take_descriptor

AT_FDCWD = -100 & 0xFFFFFFFF
_NO_FILES = ("/dev/", "/proc/", "/sys/")  # devices and the kernel's own: nobody's data
_SHARED_MEMORY = "/dev/shm/"  # noqa: S108 - the path of files that are data all the same
_CONNECTIONS = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)
UNKNOWN: tuple[Kind, str] = ("other", "")


@dataclass(slots=True)
class Descriptors:
    """Names files relative to `folder` (a real path), and sockets by whom they talk to."""

    folder: str
    _folders: dict[int, int] = field(default_factory=dict)  # thread: /proc/THREAD/fd, which is of that thread alone
    _processes: dict[int, int] = field(default_factory=dict)
    _ordinals: dict[int, int] = field(default_factory=dict)
    _known: dict[str, tuple[Kind, str]] = field(default_factory=dict)
    _served: set[str] = field(default_factory=set)  # addresses that the program itself listens at

    def link(self, thread: int, descriptor: int) -> str:
        """The text of /proc/THREAD/fd/DESCRIPTOR; empty where there is none."""
        try:
            return os.readlink(str(descriptor), dir_fd=self._folders[thread])
        except (OSError, KeyError):  # a thread that is new, or gone and its number taken by another
            return self._link_anew(thread, descriptor)

    def named(self, link: str, thread: int, descriptor: int) -> tuple[Kind, str]:
        """The kind, and the path or address, of what `link` says."""
        known = self._known.get(link)
        if known is not None:
            return known
        if link[:1] == "/":
            kind: Kind = "other" if self.is_device(link) else "file"
            self._known[link] = kind, self.relative(link)
            return self._known[link]
        return self._socket(link, thread, descriptor) if link[:7] == "socket:" else UNKNOWN

    def connected(self, link: str, address: str) -> tuple[Kind, str]:
        """A socket is being connected to `address`: that is its name from now on."""
        self._known[link] = ("socket", address) if address else UNKNOWN
        return self._known[link]

    def path(self, thread: int, folder: int | None, path: str, *, follow: bool) -> str:
        """The real path of `path`, which starts from a descriptor or the working folder; `follow` a last link."""
        if not path.startswith("/"):
            here = folder is None or folder & 0xFFFFFFFF == AT_FDCWD
            try:
                start = str(Path(f"/proc/{thread}/cwd").readlink()) if here else self.link(thread, folder or 0)
            except OSError:
                return ""
            path = f"{start}/{path}"
        parent, name = os.path.split(os.path.normpath(path))
        whole = os.path.join(os.path.realpath(parent), name)  # noqa: PTH118 - text in, text out, in the hot path
        return os.path.realpath(whole) if follow and os.path.islink(whole) else whole  # noqa: PTH114 - as above

    def relative(self, path: str) -> str:
        """`path` as it is seen from the folder of the run, if it lies below it."""
        if path == self.folder:
            return "."
        return path.removeprefix(f"{self.folder}/")

    def is_device(self, path: str) -> bool:
        """Whether it is a device or a file of the kernel's making, rather than data."""
        return path.startswith(_NO_FILES) and not path.startswith(_SHARED_MEMORY)

    def process(self, thread: int) -> int:
        """The process that `thread` belongs to."""
        if thread not in self._processes:
            self._processes[thread] = thread
            with suppress(OSError, IndexError, ValueError):
                status = Path(f"/proc/{thread}/status").read_bytes()
                self._processes[thread] = int(status.partition(b"\nTgid:")[2].split(None, 1)[0])
        return self._processes[thread]

    def ordinal(self, thread: int) -> int:
        """Its process, numbered from 1 as they show up."""
        try:
            return self._ordinals[thread]
        except KeyError:
            process = self.process(thread)
            first = self._ordinals.setdefault(process, len(set(self._ordinals.values())) + 1)
            return self._ordinals.setdefault(thread, first)

    def _link_anew(self, thread: int, descriptor: int) -> str:
        try:
            if thread in self._folders:
                os.close(self._folders.pop(thread))
            self._folders[thread] = os.open(f"/proc/{thread}/fd", os.O_RDONLY | os.O_DIRECTORY)
            return os.readlink(str(descriptor), dir_fd=self._folders[thread])
        except OSError:
            return ""

    def close(self) -> None:
        """Let go of the processes that were looked into."""
        while self._folders:
            os.close(self._folders.popitem()[1])

    def _socket(self, link: str, thread: int, descriptor: int) -> tuple[Kind, str]:
        """One that was accepted, inherited, or not connected yet. A pair of sockets inside a program is no connection.

        What is accepted has the name of the address that it was accepted at: its peer's port is another each time.
        """
        try:
            with socket.socket(fileno=take_descriptor(self.process(thread), descriptor)) as ours:
                if ours.family not in _CONNECTIONS:
                    return UNKNOWN
                here = _name(ours.family, ours.getsockname())
                if ours.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                    self._served.add(here)
                    return "socket", here
                peer = _name(ours.family, ours.getpeername())
        except OSError:
            return "socket", ""
        name = here if here in self._served else peer or here
        self._known[link] = ("socket", name) if name else UNKNOWN
        return self._known[link]


def _name(family: int, address: object) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if family == socket.AF_INET6 else f"{host}:{port}"
    return memory.unix_name(address if isinstance(address, bytes) else os.fsencode(str(address)))
