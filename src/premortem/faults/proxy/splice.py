"""Bytes that go from socket to socket through a pipe of the kernel, and never into this process. Linux alone."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

_PIPE_BYTES = 1 << 20  # the most that an unprivileged process may ask for
_KEPT = 8
_idle: list[KernelPipe] = []


class KernelPipe:
    """`take` from a socket, `give` to another; `size` bytes are inside."""

    __slots__ = ("_read", "_write", "size")

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with suppress(OSError):  # over the user's limit for pipes: then it stays at 64 KB
            fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self.size = 0

    def take(self, source: int) -> int:
        """From a socket into the pipe: how many bytes, 0 at its end. OSError as from recv."""
        size = os.splice(source, self._write, _PIPE_BYTES, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)
        self.size += size
        return size

    def give(self, sink: int) -> None:
        """As much of it as the socket takes. OSError as from send."""
        while self.size:
            self.size -= os.splice(self._read, sink, self.size, flags=os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK)

    def emptied(self) -> bytes:
        """What is inside, after all into this process."""
        pieces = []
        while self.size:
            pieces.append(os.read(self._read, self.size))
            self.size -= len(pieces[-1])
        return b"".join(pieces)

    def drop(self) -> None:
        """Forget what is inside."""
        self.emptied()
        release(self)

    def close(self) -> None:
        """Give the descriptors back."""
        os.close(self._read)
        os.close(self._write)


def acquire() -> KernelPipe | None:
    """An empty one; None where there is no splice or no descriptor left."""
    if _idle:
        return _idle.pop()
    if not hasattr(os, "splice"):
        return None
    try:
        return KernelPipe()
    except OSError:
        return None


def release(pipe: KernelPipe) -> None:
    """An empty one is kept for the next stream."""
    if len(_idle) < _KEPT:
        _idle.append(pipe)
    else:
        pipe.close()
