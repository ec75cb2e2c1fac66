"""The HTTP server in front of the API.

Laws:
- It listens on loopback, unless an allow-list file names its address.
- A browser gets nothing: any page that is open in one could reach it. Toxiproxy refuses it by its user agent; a page
  that comes under a name of its own (DNS rebinding) is refused by the Host header, too.
- A request has a thread of its own, and never waits for the data side of a proxy.
"""

from __future__ import annotations

import contextvars
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from premortem.errors import ConfigurationError
from premortem.faults.proxy.toxiproxy import api
from premortem.faults.proxy.toxiproxy.config import Address
from premortem.faults.proxy.toxiproxy.handler import Handler
from premortem.faults.proxy.toxiproxy.proxies import Proxies
from premortem.faults.targets import AllowList, check_target

DEFAULT_ADDRESS = Address("127.0.0.1", 8474)


class ApiServer:
    """Serves `address` until it is closed; port 0 is any that is free. `url` is where it is."""

    def __init__(self, proxies: Proxies, address: Address = DEFAULT_ADDRESS, *, allow: AllowList | None = None) -> None:
        self.host = check_target(address.host, address.port or DEFAULT_ADDRESS.port, allow)
        self._proxies = proxies
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._context = contextvars.copy_context()  # threads have no listeners of their own: strikes must be heard
        self._server = _listen(Address(self.host, address.port), partial(Handler, self))
        self.address = Address(self.host, self._server.server_address[1])
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="premortem-toxiproxy-api", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening, and drop the connections that are kept open. The proxies stay."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        with self._lock:
            kept = tuple(self._open)
        for one in kept:
            with suppress(OSError):  # closed meanwhile
                one.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, method: str, path: str, body: bytes) -> api.Answer:
        """In the context of whoever started the server, so that its listeners hear the strikes."""
        return self._context.copy().run(api.answer, self._proxies, method, path, body)

    def opened(self, one: socket.socket) -> None:
        """A connection begins."""
        with self._lock:
            self._open.add(one)

    def closed(self, one: socket.socket) -> None:
        """A connection is over."""
        with self._lock:
            self._open.discard(one)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: Address, handler: Callable[..., BaseHTTPRequestHandler]) -> None:
        if ":" in address.host:
            self.address_family = socket.AF_INET6
        super().__init__((address.host, address.port), handler)

    def server_bind(self) -> None:
        """Without the look-up of our own name in DNS, which http.server makes and nobody reads."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])


def _listen(address: Address, handler: Callable[..., BaseHTTPRequestHandler]) -> _Server:
    try:
        return _Server(address, handler)
    except OSError as error:
        raise ConfigurationError(
            f"{address}: the API cannot listen there ({error.strerror}); name another address, or port 0"
        ) from None
