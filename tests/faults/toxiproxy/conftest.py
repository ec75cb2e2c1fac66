"""A real server on loopback, the real proxy in front of it, and its API asked over HTTP as any client would."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from premortem.faults.proxy import ProxyHost
from premortem.faults.proxy.toxiproxy import ApiServer, Proxies
from premortem.faults.proxy.toxiproxy.config import Address

SOON_S = 20.0  # a busy machine; what is awaited comes in milliseconds


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> dict:  # type: ignore[type-arg] # whatever the API says
        told: dict = json.loads(self.body)  # type: ignore[type-arg]
        return told


@dataclass
class Api:
    """Asks the API; each request on a connection of its own."""

    server: ApiServer
    proxies: Proxies

    def ask(self, method: str, path: str, told: object = None, **headers: str) -> Reply:
        body = None if told is None else told if isinstance(told, bytes) else json.dumps(told).encode()
        connection = http.client.HTTPConnection(self.server.address.host, self.server.address.port, timeout=SOON_S)
        with contextlib.closing(connection):
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()})

    def proxy(self, upstream: tuple[str, int], name: str = "shop", **more: object) -> tuple[str, int]:
        """A proxy, and the address at which it listens."""
        told = self.ask("POST", "/proxies", {"name": name, "upstream": f"{upstream[0]}:{upstream[1]}", **more})
        assert told.status == 201, told.body
        host, _, port = told.json["listen"].rpartition(":")
        return host, int(port)

    def toxic(self, type_: str, name: str = "shop", **more: object) -> Reply:
        told = self.ask("POST", f"/proxies/{name}/toxics", {"type": type_, **more})
        assert told.status == 200, told.body
        return told


@dataclass
class Upstream:
    """Answers every connection with what it was sent, and at its end with how many bytes there were."""

    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0), backlog=128))
    accepted: list[socket.socket] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.address: tuple[str, int] = self.listener.getsockname()
        self.name = f"127.0.0.1:{self.address[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed at the end of the test
            while True:
                connection, _ = self.listener.accept()
                self.accepted.append(connection)
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    @staticmethod
    def _answer(connection: socket.socket) -> None:
        size = 0
        with contextlib.suppress(OSError), connection:
            while data := connection.recv(1 << 16):
                size += len(data)
                connection.sendall(data)
            connection.sendall(b"|%d" % size)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for one in self.accepted:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream()
    yield server
    server.close()


@pytest.fixture(scope="session")
def host() -> Iterator[ProxyHost]:
    with ProxyHost() as host:
        yield host


@pytest.fixture
def api(host: ProxyHost) -> Iterator[Api]:
    proxies = Proxies(host, seed=7)
    with ApiServer(proxies, Address("127.0.0.1", 0)) as server:
        yield Api(server, proxies)
    proxies.close()


@pytest.fixture
def connect() -> Iterator[Callable[[tuple[str, int]], socket.socket]]:
    """A connection that never waits for ever."""
    made: list[socket.socket] = []

    def connect(address: tuple[str, int]) -> socket.socket:
        made.append(socket.create_connection(address, timeout=SOON_S))
        return made[-1]

    yield connect
    for one in made:
        one.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    def wait(reached: Callable[[], bool]) -> None:
        until = time.monotonic() + SOON_S
        while not reached():
            assert time.monotonic() < until, "did not happen"
            time.sleep(0.005)

    return wait
