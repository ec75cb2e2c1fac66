"""An HTTPS server on loopback whose TLS is right or wrong in a named way, and can change while it runs.

Certificates are made when it starts. A client has to trust `ca` (a PEM file) to accept the healthy one. Connections
that are open keep the certificate that they met, as in real life; `swap` shows in the next handshake.
"""

from __future__ import annotations

import contextvars
import socket
import ssl
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults.strike import lifted, struck
from premortem.faults.tls.kinds import KINDS, contexts, known, serve
from premortem.ports import Clock, SystemClock

_PATIENCE_S = 10.0  # for a client that connects and then says nothing
_FAULT = "tls"

__all__ = ["KINDS", "Server", "why_not"]


def why_not() -> str:
    """Empty where certificates can be made and served, else the exact reason."""
    try:
        with (
            Server() as server,
            socket.create_connection(("127.0.0.1", server.port), _PATIENCE_S) as connection,
            server.trusting().wrap_socket(connection, server_hostname="localhost") as channel,
        ):
            return "" if channel.version() else "the handshake agreed on nothing"
    except MissingRequirementError as missing:
        return missing.reason
    except OSError as error:
        return f"{error}"


class Server:
    """Serves https://localhost:`port` until it is closed; `kind` is one of `KINDS`."""

    def __init__(self, kind: str = "healthy", *, clock: Clock | None = None) -> None:
        self._kind = known(kind)
        self._folder = tempfile.TemporaryDirectory(prefix="premortem-tls-")
        try:
            self._contexts, self.ca = contexts(Path(self._folder.name), clock or SystemClock())
        except BaseException:
            self._folder.cleanup()
            raise
        self._told = "healthy"
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://localhost:{self.port}"
        self._context = contextvars.copy_context()  # threads have no listeners of their own: strikes must be heard
        self._thread = threading.Thread(target=self._accept, name="premortem-tls", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and end every connection. Can be called again."""
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._folder.cleanup()

    @property
    def kind(self) -> str:
        """What it is now."""
        return self._kind

    def trusting(self) -> ssl.SSLContext:
        """A client's context that trusts our authority alone."""
        return ssl.create_default_context(cafile=self.ca)

    def swap(self, kind: str) -> None:
        """From the next handshake on be of another kind, until it is swapped again."""
        known(kind)
        with self._lock:
            undone, self._kind, self._told = self._told, kind, "healthy"
        if undone != "healthy":
            lifted(_FAULT, f"port {self.port} no longer shows {KINDS[undone]}")

    @contextmanager
    def swapped(self, kind: str) -> Iterator[None]:
        """Be of another kind for the block."""
        before = self._kind
        if known(kind) == before:
            raise FaultError(f"kind={kind!r}: is what the server is already, so nothing would change; name another")
        self.swap(kind)
        try:
            yield
        finally:
            self.swap(before)

    def _accept(self) -> None:
        while True:
            try:
                connection, address = self._listener.accept()
            except OSError:  # closed
                return
            arguments = (connection, address[1], self._kind)
            threading.Thread(target=self._context.copy().run, args=(self._serve, *arguments), daemon=True).start()

    def _serve(self, connection: socket.socket, client: int, kind: str) -> None:
        with self._lock:
            self._open.add(connection)
        try:
            connection.settimeout(_PATIENCE_S)
            with suppress(OSError):  # a client that turns away is what most kinds are for
                serve(kind, connection, self._contexts.get(kind), lambda: self._tell(kind, client))
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _tell(self, kind: str, client: int) -> None:
        """The first connection that met the fault is the strike."""
        with self._lock:
            new, self._told = self._told != kind, kind
        if new:
            struck(_FAULT, f"{KINDS[kind]}; first met by the connection from port {client}")
