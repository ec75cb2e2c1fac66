"""A TCP relay on loopback that can fall silent: connections stay open, and nothing comes through any more.

That is what a dropped route, a dead NAT entry or a frozen host looks like from a client: no error, no end, no
answer. One thread, one selector; what it swallows while silent is told as the strike.
"""

from __future__ import annotations

import contextvars
import ipaddress
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Self

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck

_CHUNK_BYTES = 1 << 16


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
        self._peers: dict[socket.socket, socket.socket] = {}
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
        """Stop, and close every connection."""
        self._wake.send(b"q")
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._listener:
                    self._accept()
                elif ready is self._woken:
                    if self._woken.recv(1) == b"q":
                        self._close_all()
                        return
                    self._drop_connections()
                    self._cut.set()
                elif ready in self._peers:
                    self._relay(ready)

    def _accept(self) -> None:
        client, address = self._listener.accept()
        if self._silent.is_set():
            self._tell(f"the connection from port {address[1]} is not answered")
        upstream = socket.create_connection(self._upstream)
        for one, other in ((client, upstream), (upstream, client)):
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _relay(self, source: socket.socket) -> None:
        try:
            piece = source.recv(_CHUNK_BYTES)
            if self._silent.is_set():
                self._tell(f"{len(piece)} bytes swallowed on port {self.port}")
                if not piece:
                    self._selector.unregister(source)
                return
            if piece:
                self._peers[source].sendall(piece)
                return
        except OSError:  # one side reset: the other side sees the connection end, as it would without us
            pass
        self._drop(source)

    def _tell(self, what: str) -> None:
        if not self._told:  # once a silence: the first byte that is lost is the strike
            self._told = True
            struck("silent network", what)

    def _drop(self, one: socket.socket) -> None:
        for end in (one, self._peers.pop(one)):
            self._peers.pop(end, None)
            with suppress(KeyError):
                self._selector.unregister(end)
            end.close()

    def _drop_connections(self) -> None:
        while self._peers:
            self._drop(next(iter(self._peers)))

    def _close_all(self) -> None:
        self._drop_connections()
        self._selector.close()
        for end in (self._listener, self._wake, self._woken):
            end.close()
