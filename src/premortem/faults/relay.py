"""A TCP relay on loopback that can fall silent: connections stay open, and nothing comes through any more.

That is what a dropped route, a dead NAT entry or a frozen host looks like from a client: no error, no end, no
answer. One thread, one selector, and no send that waits: a slow reader slows down its own connection alone. What
is swallowed while silent is told as the strike.
"""

from __future__ import annotations

import contextvars
import ipaddress
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Self

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck

_CHUNK_BYTES = 1 << 16
_CONNECT_S = 5.0  # loopback answers at once, or not at all


@dataclass(eq=False)
class _End:
    """One end of a connection, and what is still to be sent to it."""

    socket: socket.socket
    pending: bytearray = field(default_factory=bytearray)
    said_all: bool = False  # its own end of file was read
    heard_all: bool = False  # nothing more will be sent to it
    lost: bool = False  # bytes of its connection were swallowed
    other: _End = field(init=False)


class Relay:
    """Relays 127.0.0.1:`port` to `upstream`, a (host, port) on loopback, until it is closed."""

    def __init__(self, upstream: tuple[str, int]) -> None:
        host = socket.gethostbyname(upstream[0])
        if not ipaddress.ip_address(host).is_loopback:
            raise FaultError(
                f"{upstream[0]}: is not on loopback, and faults strike only there; use a server of the lab"
            )
        self._upstream = (host, upstream[1])
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._silent = threading.Event()
        self._told = False
        self._cut = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._wake, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._ends: set[_End] = set()
        context = contextvars.copy_context()  # a thread has no listeners of its own: strikes must still be heard
        self._thread = threading.Thread(target=context.run, args=(self._serve,), name="premortem-relay", daemon=True)
        self._thread.start()

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Nothing comes through in this block; connections that lost bytes in it are cut when it ends."""
        self._told = False
        self._silent.set()
        try:
            yield
        finally:
            self._silent.clear()
            self._cut.clear()
            self._wake.send(b"l")
            self._cut.wait()  # so that no connection made after this block is taken for one that lost bytes
            lifted("silent network", f"port {self.port}")

    def close(self) -> None:
        """Stop, and close every connection. Can be called again."""
        with suppress(OSError):  # closed before
            self._wake.send(b"q")
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            for key, ready in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    if self._woken.recv(1) == b"q":
                        self._close_all()
                        return
                    for end in [end for end in self._ends if end.lost]:
                        self._drop(end)
                    self._cut.set()
                elif key.data in self._ends:  # an end that was dropped in this same round is ready no more
                    self._turn(key.data, ready)

    def _accept(self) -> None:
        client, address = self._listener.accept()
        if self._silent.is_set():
            self._tell(f"the connection from port {address[1]} is not answered")
        try:
            upstream = socket.create_connection(self._upstream, _CONNECT_S)
        except OSError:  # nobody listens there: the client sees its connection end, which is as near as we come
            client.close()
            return
        one, other = _End(client), _End(upstream)
        one.other, other.other = other, one
        for end in (one, other):
            end.socket.setblocking(False)
            self._ends.add(end)
            self._selector.register(end.socket, selectors.EVENT_READ, end)

    def _turn(self, end: _End, ready: int) -> None:
        """Take from `end`, send to `end`; one side reset means that the other sees its end, as it would without us."""
        try:
            if ready & selectors.EVENT_READ:
                self._take(end)
            if ready & selectors.EVENT_WRITE:
                self._give(end)
        except BlockingIOError:
            pass
        except OSError:
            self._drop(end)
            return
        if end.heard_all and end.other.heard_all:
            self._drop(end)
        else:
            self._watch(end)
            self._watch(end.other)

    def _take(self, end: _End) -> None:
        piece = end.socket.recv(_CHUNK_BYTES)
        end.said_all = not piece
        if self._silent.is_set():
            self._tell(f"{len(piece)} bytes swallowed on port {self.port}")
            end.lost = True
            return
        end.other.pending += piece
        self._give(end.other)

    def _give(self, end: _End) -> None:
        """Send what is pending; half of a connection ends when its source has said all and all of it is sent."""
        if self._silent.is_set() and end.pending:
            self._tell(f"{len(end.pending)} bytes swallowed on port {self.port}")
            end.pending.clear()
            end.lost = True
        if end.pending:
            with suppress(BlockingIOError):
                del end.pending[: end.socket.send(end.pending)]
        if end.other.said_all and not end.pending and not end.lost and not end.other.lost and not end.heard_all:
            end.heard_all = True
            end.socket.shutdown(socket.SHUT_WR)

    def _watch(self, end: _End) -> None:
        """Read from it while the other side keeps up; write to it while something is pending."""
        read = not end.said_all and not end.other.pending
        wanted = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if end.pending else 0)
        with suppress(KeyError):
            self._selector.unregister(end.socket)
        if wanted:
            self._selector.register(end.socket, wanted, end)

    def _tell(self, what: str) -> None:
        if not self._told:  # once a silence: the first byte that is lost is the strike
            self._told = True
            struck("silent network", what)

    def _drop(self, one: _End) -> None:
        for end in (one, one.other):
            self._ends.discard(end)
            with suppress(KeyError):
                self._selector.unregister(end.socket)
            end.socket.close()

    def _close_all(self) -> None:
        while self._ends:
            self._drop(next(iter(self._ends)))
        self._selector.close()
        for end in (self._listener, self._wake, self._woken):
            end.close()
