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
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults.certificates import Authority
from premortem.faults.strike import lifted, struck
from premortem.ports import Clock, SystemClock

_BODY = b"ok"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b"
_LONGER = 100  # bytes that a cut answer announces and does not send
_PATIENCE_S = 10.0  # for a client that connects and then says nothing
_FAULT = "tls"

KINDS: Mapping[str, str] = {
    "healthy": "a valid certificate for localhost",
    "expired": "a certificate that expired yesterday",
    "not_yet_valid": "a certificate that is valid from tomorrow on",
    "wrong_host": "a certificate for another host",
    "self_signed": "a certificate that only itself has signed",
    "untrusted_ca": "a certificate of an authority that nobody knows",
    "old_protocol": "nothing newer than TLS 1.1",
    "hangs": "no answer to the client's hello",
    "closes": "the connection is closed in the middle of the handshake",
    "cuts": "the connection is closed in the middle of the answer",
}
"""What may be wrong, each in words."""


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
        self._kind = _known(kind)
        self._folder = tempfile.TemporaryDirectory(prefix="premortem-tls-")
        try:
            self._contexts, self.ca = _contexts(Path(self._folder.name), clock or SystemClock())
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
        known = _known(kind)
        with self._lock:
            undone, self._kind, self._told = self._told, known, "healthy"
        if undone != "healthy":
            lifted(_FAULT, f"port {self.port} no longer shows {KINDS[undone]}")

    @contextmanager
    def swapped(self, kind: str) -> Iterator[None]:
        """Be of another kind for the block."""
        before = self._kind
        if _known(kind) == before:
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
                _SERVE.get(kind, _served)(connection, self._contexts.get(kind), lambda: self._tell(kind, client))
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


Tell = Callable[[], None]


def _served(connection: socket.socket, context: ssl.SSLContext | None, tell: Tell) -> None:
    """The handshake with what there is, then an answer, should the client accept it."""
    assert context is not None
    connection.recv(1, socket.MSG_PEEK)  # the hello has come, so the handshake is one, whatever comes of it
    tell()
    with context.wrap_socket(connection, server_side=True) as channel:
        channel.recv(1 << 16)
        channel.sendall(_ANSWER % (len(_BODY), _BODY))
        with suppress(OSError):
            channel.unwrap()


def _hung(connection: socket.socket, _: object, tell: Tell) -> None:
    """Take what comes, and say nothing until the client gives up or we are closed."""
    connection.settimeout(None)
    connection.recv(1)
    tell()
    while connection.recv(1 << 16):
        pass


def _closed(connection: socket.socket, _: object, tell: Tell) -> None:
    connection.recv(1 << 16)
    tell()


def _cut(connection: socket.socket, context: ssl.SSLContext | None, tell: Tell) -> None:
    """Half of an answer, then the end: without the goodbye by which TLS tells an end from a cut."""
    assert context is not None
    with context.wrap_socket(connection, server_side=True) as channel:
        channel.recv(1 << 16)
        channel.sendall(_ANSWER % (len(_BODY) + _LONGER, _BODY))
        tell()


_SERVE: Mapping[str, Callable[[socket.socket, ssl.SSLContext | None, Tell], None]] = {
    "hangs": _hung,
    "closes": _closed,
    "cuts": _cut,
}


def _contexts(folder: Path, clock: Clock) -> tuple[dict[str, ssl.SSLContext], Path]:
    """What each kind shows, and the authority's file."""
    authority = Authority(folder, clock.now())
    stranger = Authority(folder, clock.now(), "stranger")
    healthy = authority.issue("healthy")
    certificates = {
        "healthy": healthy,
        "expired": authority.expired(),
        "not_yet_valid": authority.not_yet_valid(),
        "wrong_host": authority.wrong_host(),
        "self_signed": authority.self_signed(),
        "untrusted_ca": stranger.issue("untrusted"),
        "old_protocol": healthy,
        "cuts": healthy,
    }
    contexts = {}
    for kind, certificate in certificates.items():
        context = contexts[kind] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate.path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        contexts["old_protocol"].minimum_version = ssl.TLSVersion.TLSv1
        contexts["old_protocol"].maximum_version = ssl.TLSVersion.TLSv1_1
    contexts["old_protocol"].set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL 3 allows TLS 1.1 no longer above that
    return contexts, authority.path


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise FaultError(f"kind={kind!r}: is none; choose one of {', '.join(KINDS)}")
    return kind
