"""One HTTP connection to the API: reads whole requests, refuses what must not get in, sends answers."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer
from typing import Any, Protocol

from premortem.faults.proxy.toxiproxy import api

_LONGEST_BYTES = 1 << 20
_LINE_BYTES = 1 << 10
_IDLE_S = 60.0  # as Toxiproxy: a connection that is kept and not used


class BadBodyError(Exception):
    """A body of more than a mebibyte, or of a length that is none."""


class Owner(Protocol):
    """What a connection needs of its server."""

    host: str
    """The address that it listens on."""

    def answer(self, method: str, path: str, body: bytes) -> api.Answer:
        """Do what is asked."""
        ...

    def opened(self, one: socket.socket) -> None:
        """A connection begins."""
        ...

    def closed(self, one: socket.socket) -> None:
        """A connection is over."""
        ...


class Handler(BaseHTTPRequestHandler):
    """Keeps the connection open between requests, as HTTP/1.1 does."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = _IDLE_S

    def __init__(self, owner: Owner, request: Any, client_address: Any, server: BaseServer) -> None:  # noqa: ANN401 - as in socketserver
        self._owner = owner
        super().__init__(request, client_address, server)

    def setup(self) -> None:
        """Count it in."""
        super().setup()
        self._owner.opened(self.connection)

    def finish(self) -> None:
        """Count it out."""
        self._owner.closed(self.connection)
        with suppress(OSError):  # the client has gone, and the rest of its answer with it
            super().finish()

    def handle(self) -> None:
        """All of its requests."""
        with suppress(ConnectionError):  # the client has gone: nobody is left to be told
            super().handle()

    def do_GET(self) -> None:
        """Any request: the routes know the methods."""
        try:
            body = _body(self)
        except BadBodyError as error:
            self.close_connection = True  # where the next request would begin is unknown
            self._send(api.failed(f"bad request body: {error}", HTTPStatus.BAD_REQUEST))
            return
        self._send(self._refused() or self._owner.answer(self.command, self.path, body))

    do_POST = do_PATCH = do_DELETE = do_PUT = do_HEAD = do_OPTIONS = do_GET  # noqa: N815 - names of http.server

    def log_message(self, *_: object) -> None:
        """Say nothing: what matters is told by the strikes."""

    def _refused(self) -> api.Answer | None:
        """What a browser gets, whether it says that it is one or was led here under another name."""
        if self.headers.get("User-Agent", "").startswith("Mozilla/"):
            return api.plain(HTTPStatus.FORBIDDEN, "User agent not allowed")
        if not is_ours(self.headers.get("Host", ""), self._owner.host):
            return api.plain(HTTPStatus.FORBIDDEN, f"Host not allowed; ask for {self._owner.host}")
        return None

    def _send(self, answer: api.Answer) -> None:
        self.send_response(answer.status)
        if answer.body:
            self.send_header("Content-Type", answer.content_type)
        if answer.status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", str(len(answer.body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


def is_ours(host: str, own: str) -> bool:
    """Whether a Host header names loopback, or the address that the server listens on.

    A missing one is an old HTTP/1.0 client: browsers always send it.
    """
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    name = name.removeprefix("[").removesuffix("]").casefold()
    if name in ("", "localhost", own):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _body(handler: BaseHTTPRequestHandler) -> bytes:
    """The body, by its length or in chunks, as clients that do not know the length send it."""
    if "chunked" in handler.headers.get("Transfer-Encoding", "").casefold():
        return chunks(handler.rfile.readline, handler.rfile.read)
    told = handler.headers.get("Content-Length", "0").strip()
    if not (
        told.isascii() and told.isdigit() and len(told) <= len(str(_LONGEST_BYTES)) and int(told) <= _LONGEST_BYTES
    ):
        raise BadBodyError(f"its length is {told!r}, and has to be up to {_LONGEST_BYTES} bytes")
    return handler.rfile.read(int(told))


def chunks(read_line: Callable[[int], bytes], read: Callable[[int], bytes]) -> bytes:
    """RFC 9112, section 7.1: a length in hexadecimal, so many bytes, and again, until a length of 0."""
    body = b""
    while size := _chunk_size(read_line(_LINE_BYTES), _LONGEST_BYTES - len(body)):
        body += read(size)
        read_line(_LINE_BYTES)
    while read_line(_LINE_BYTES).strip():  # trailers
        pass
    return body


def _chunk_size(line: bytes, left: int) -> int:
    told = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{1,8}", told):
        raise BadBodyError(f"a chunk's length is {told[:40]!r}, and has to be hexadecimal")
    size = int(told, 16)
    if size > left:
        raise BadBodyError(f"it has to be up to {_LONGEST_BYTES} bytes")
    return size
