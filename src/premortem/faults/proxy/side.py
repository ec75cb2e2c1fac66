"""One side of a connection: the socket of the client, or ours to the server, and what the loop is to tell of it."""

from __future__ import annotations

import fcntl
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

from premortem.faults.proxy.engine import IN, OUT, TROUBLE, Engine

if TYPE_CHECKING:
    from premortem.faults.proxy.pipe import Pipe

_RESET = struct.pack("ii", 1, 0)  # linger for no time: close() sends a reset
_SIOCOUTQ = 0x5411  # linux/sockios.h


class Side:
    """`hears` is the direction that comes from it, `tells` the one that goes to it."""

    __slots__ = ("closed", "engine", "fd", "hears", "socket", "tells", "wanted", "was_reset")

    def __init__(self, engine: Engine, sock: socket.socket, hears: Pipe, tells: Pipe) -> None:
        self.engine = engine
        self.socket = sock
        self.fd = sock.fileno()
        self.hears = hears
        self.tells = tells
        self.wanted = 0
        self.was_reset = False
        """A send has found it gone: the end that is then read from it was none in order."""
        self.closed = False
        hears.source = tells.sink = self

    def update(self) -> None:
        """Want what both directions want. Without any wish the loop must not know it: trouble is told unasked."""
        if self.closed:
            return
        wanted = (IN if self.hears.wants_bytes else 0) | (OUT if self.tells.has_bytes else 0)
        if wanted == self.wanted:
            return
        if not self.wanted:
            self.engine.add(self.fd, wanted, self.ready)
        elif not wanted:
            self.engine.remove(self.fd)
        else:
            self.engine.change(self.fd, wanted)
        self.wanted = wanted

    def ready(self, event: int) -> None:
        """The loop has news. Whoever waits finds trouble by trying."""
        if event == IN:
            self.hears.take()
            return
        if event & TROUBLE:
            event = self.wanted
        if event & OUT:
            self.tells.give()
        if event & IN and not self.closed:
            self.hears.take()

    def end(self) -> None:
        """It hears that no more comes."""
        with suppress(OSError):  # it has gone itself
            self.socket.shutdown(socket.SHUT_WR)

    def unsent_bytes(self) -> int:
        """What the kernel still has for it: a reset would throw that away."""
        answer = bytearray(4)
        try:
            fcntl.ioctl(self.fd, _SIOCOUTQ, answer)
        except OSError:
            return 0
        return int.from_bytes(answer, "little")

    def close(self, *, reset: bool = False) -> None:
        """Be done with it; with a true reset if that is asked for."""
        if self.closed:
            return
        self.closed = True
        if self.wanted:
            self.engine.forget(self.fd)
            self.wanted = 0
        if reset:
            with suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.socket.close()
