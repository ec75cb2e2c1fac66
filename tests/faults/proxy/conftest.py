"""Real servers and clients for the proxy, a process of it that many tests share, and no stopwatch."""

from __future__ import annotations

import hashlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Self

import pytest

from premortem.faults.proxy import FaultProxy, ProxyHost

LONG_S = 20.0  # a test that waits this long has failed

Talk = Callable[[socket.socket], None]
Serve = Callable[[Talk], AbstractContextManager[tuple[str, int]]]


def echo(request: socket.socket) -> None:
    while piece := request.recv(1 << 16):
        request.sendall(piece)


@contextmanager
def serving(talk: Talk) -> Iterator[tuple[str, int]]:
    """A server that talks to every client in a thread of its own."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(LONG_S)
            self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(OSError):
                talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        request_queue_size = 512

        def shutdown_request(self, request: object) -> None:
            assert isinstance(request, socket.socket)
            request.close()  # as it is: an end, or a reset if the handler has asked for one

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield "127.0.0.1", server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Serve:
    return serving


@pytest.fixture(scope="session")
def echo_address() -> Iterator[tuple[str, int]]:
    with serving(echo) as address:
        yield address


@pytest.fixture(scope="session")
def proxy_host() -> Iterator[ProxyHost]:
    with ProxyHost() as host:
        yield host


@pytest.fixture
def echo_proxy(proxy_host: ProxyHost, echo_address: tuple[str, int]) -> Iterator[FaultProxy]:
    with proxy_host.open(echo_address) as proxy:
        yield proxy


class Client:
    """A connection with the words of these tests."""

    def __init__(self, address: tuple[str, int]) -> None:
        self._reset = False
        try:
            self.socket = socket.create_connection(address, timeout=LONG_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except ConnectionResetError:  # it was made, and reset before connect() came back
            self.socket = socket.socket()
            self._reset = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self, count: int) -> bytes:
        heard = bytearray()
        while len(heard) < count and (piece := self.socket.recv(count - len(heard))):
            heard += piece
        return bytes(heard)

    def read_all(self) -> bytes:
        heard = bytearray()
        while piece := self.socket.recv(1 << 16):
            heard += piece
        return bytes(heard)

    def echoes(self, data: bytes = b"hello") -> bool:
        self.say(data)
        return self.read(len(data)) == data

    def end(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def fate(self) -> str:
        """How it ends: "end" or "reset"; what it still hears before that is thrown away."""
        if self._reset:
            return "reset"
        try:
            while self.socket.recv(1 << 16):
                pass
        except ConnectionResetError:
            return "reset"
        return "end"

    def silent(self) -> bool:
        """Nothing comes for a moment: neither a byte nor an end."""
        self.socket.settimeout(0.05)
        try:
            self.socket.recv(1)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(LONG_S)
        return False


Connect = Callable[[FaultProxy], Client]


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connect to a proxy; whatever was connected is closed at the end."""
    clients: list[Client] = []

    def connected(proxy: FaultProxy) -> Client:
        clients.append(Client(proxy.address))
        return clients[-1]

    yield connected
    for client in clients:
        client.socket.close()


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether it comes to hold in good time."""
    until = time.monotonic() + LONG_S
    while time.monotonic() < until:
        if holds():
            return True
        time.sleep(0.002)
    return False


@pytest.fixture(name="eventually")
def _eventually() -> Callable[[Callable[[], bool]], bool]:
    return eventually


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
