"""A pipe, a socket or a terminal under the log: standard error, a container's runtime, a log shipper.

A reader that is gone or does not read costs `patience_s` seconds once, and nothing after that until it reads again.
A line is no longer than what a pipe takes whole (PIPE_BUF, 4096 bytes on Linux), so several writers never mix.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from contextlib import suppress

from premortem.errors import ConfigurationError


class PipeSink:
    """Writes to descriptor `descriptor` (2 is standard error), which stays its owner's to close."""

    line_bytes = max(1024, min(4096, select.PIPE_BUF))

    def __init__(self, descriptor: int = 2, *, patience_s: float = 0.2) -> None:
        if descriptor < 0:
            raise ConfigurationError(f"PipeSink({descriptor!r}): has to be a descriptor's number; 2 is standard error")
        if not 0 <= patience_s <= 60:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"PipeSink.patience_s = {patience_s!r}: has to be 0 to 60 seconds")
        self.name = f"descriptor {descriptor}"
        self._descriptor, self._patience_s = descriptor, patience_s
        self._own: int | None = None
        self._socket: socket.socket | None = None
        self._opened = False
        self._torn = False
        self._stuck = False

    def write(self, line: bytes) -> None:
        """As `Sink.write`; TimeoutError, which is an OSError, where nobody reads."""
        if not self._opened:
            self._open()
        until = time.monotonic() + (0 if self._stuck else self._patience_s)
        left = memoryview(b"\n" + line if self._torn else line)
        whole = len(left)
        while True:
            written = self._some(left, until)
            if written == len(left):
                break
            left = left[written:]
            self._torn = self._torn or len(left) < whole
        self._torn = self._stuck = False

    def close(self) -> None:
        """As `Sink.close`."""
        if self._own is not None:
            os.close(self._own)
        if self._socket is not None:
            self._socket.close()
        self._own = self._socket = None
        self._opened = False

    def _some(self, left: memoryview, until: float) -> int:
        """Write what can be written; wait for the reader until `until` where nothing can."""
        target = self._descriptor if self._own is None else self._own
        waited = until - time.monotonic()
        poll = select.poll()
        poll.register(target, select.POLLOUT)
        if not poll.poll(max(0.0, waited) * 1000):
            self._stuck = True
            raise TimeoutError(f"{self.name}: nobody reads")
        try:
            if self._socket is not None:
                return self._socket.send(left, socket.MSG_DONTWAIT | getattr(socket, "MSG_NOSIGNAL", 0))
            return os.write(target, left)
        except BlockingIOError:
            if waited > 0:
                return 0
            self._stuck = True
            raise TimeoutError(f"{self.name}: nobody reads") from None

    def _open(self) -> None:
        """A way to write that does not block: a descriptor of our own, for the flag would be everybody's."""
        mode = os.fstat(self._descriptor).st_mode
        if stat.S_ISFIFO(mode):
            with suppress(OSError):  # no /proc, or no reader: then poll() alone has to do
                flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
                self._own = os.open(f"/proc/self/fd/{self._descriptor}", flags)
        elif stat.S_ISSOCK(mode):
            self._socket = socket.socket(fileno=os.dup(self._descriptor))
        self._opened = True
