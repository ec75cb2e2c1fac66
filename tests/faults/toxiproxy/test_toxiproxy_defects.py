"""What Toxiproxy gets wrong or cannot do, asked of ours through Toxiproxy's own API."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from premortem.faults.proxy import ProxyHost
from premortem.faults.proxy.toxiproxy import Proxies, ProxyEntry
from premortem.faults.proxy.toxiproxy.config import read_address, read_listen
from premortem.faults.proxy.toxiproxy.fields import Json
from premortem.faults.proxy.toxiproxy.toxics import read_toxic

Connect = Callable[[tuple[str, int]], socket.socket]


def _all(one: socket.socket) -> bytes:
    said = b""
    while data := one.recv(1 << 16):
        said += data
    return said


@pytest.mark.parametrize("toxics", [[], [{"type": "latency", "attributes": {"latency": 5}}]])
def test_half_close_the_answer_at_the_end_is_not_lost(api: Any, upstream: Any, connect: Connect, toxics: Any) -> None:
    """There, `ToxicLink.write` closes the whole connection when one direction has ended."""
    one = connect(api.proxy(upstream.address, toxics=toxics))
    one.sendall(b"0123456789")
    one.shutdown(socket.SHUT_WR)
    assert _all(one) == b"0123456789|10"


def test_a_refused_upstream_is_no_connection_that_ends(api: Any, connect: Connect) -> None:
    """Its issue 265: connect() succeeds there, and an orderly end follows, as if the server had said all."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = free.getsockname()
    listen = api.proxy(nobody)
    with pytest.raises(ConnectionError):
        connect(listen).recv(1)


def test_reset_peer_resets_connections_that_live(api: Any, upstream: Any, connect: Connect) -> None:
    """There, only connections made after the toxic get an RST; those that live see an orderly end."""
    listen = api.proxy(upstream.address)
    live = connect(listen)
    live.sendall(b"x")
    assert live.recv(1) == b"x"
    api.toxic("reset_peer", attributes={"timeout": 0})
    with pytest.raises(ConnectionResetError):
        live.recv(1)
    with pytest.raises(ConnectionResetError):
        connect(listen).recv(1)


CORRUPT: Json = {"type": "corrupt", "toxicity": 0.5, "attributes": {"every_bytes": 1}}


def _struck(connections: list[socket.socket]) -> str:
    """Which of them get another byte back than they have sent, as a text of S and dots."""
    for one in connections:
        one.sendall(b"x")
    return "".join("." if one.recv(1) == b"x" else "S" for one in connections)


def test_which_connections_a_toxic_strikes_is_drawn_once(api: Any, upstream: Any, connect: Connect) -> None:
    """There, every toxic that is added or taken out makes all connections draw again."""
    listen = api.proxy(upstream.address)
    connections = [connect(listen) for _ in range(12)]
    assert _struck(connections) == "." * 12
    assert api.ask("POST", "/proxies/shop/toxics", CORRUPT).status == 200
    first = _struck(connections)
    assert 0 < first.count("S") < 12
    api.toxic("latency", attributes={"latency": 1})
    assert _struck(connections) == first
    api.ask("DELETE", "/proxies/shop/toxics/latency_downstream")
    assert _struck(connections) == first


def test_the_same_seed_strikes_the_same_connections(host: ProxyHost, upstream: Any, connect: Connect) -> None:
    """There, `-seed` is read and thrown away (its pull request 610 is open since 2024)."""

    def pattern(seed: int) -> str:
        proxies = Proxies(host, seed=seed)
        toxic = read_toxic(CORRUPT)
        proxy = proxies.create(
            ProxyEntry("shop", read_listen(""), read_address(upstream.name, "upstream"), toxics=(toxic,))
        )
        found = ""
        for _ in range(16):  # one after the other: they are numbered as they come
            found += _struck([connect(("127.0.0.1", proxy.listen.port))])
        proxies.close()
        return found

    first = pattern(1)
    assert pattern(1) == first
    assert pattern(2) != first


def test_toxicity_0_strikes_nobody(api: Any, upstream: Any, connect: Connect) -> None:
    """Its issue 603: a toxic with toxicity 0 has effects there."""
    listen = api.proxy(upstream.address)
    for type_, attributes in (("reset_peer", {}), ("limit_data", {"bytes": 0}), ("bandwidth", {"rate": 0})):
        api.toxic(type_, toxicity=0, attributes=attributes)
    one = connect(listen)
    one.sendall(b"x")
    assert one.recv(1) == b"x"


def test_a_toxic_is_deleted_while_data_is_stuck_behind_it(api: Any, upstream: Any, connect: Connect) -> None:
    """Its issues 412, 427, 428 and 558: the delete hangs there, and every other request behind it.

    Left alone, this data would take half an hour: whoever waited for it would run out of time in `ask`.
    """
    listen = api.proxy(upstream.address)
    api.toxic("bandwidth", stream="downstream", attributes={"rate": 1})
    one = connect(listen)
    size = 2_000_000

    def send() -> None:
        one.sendall(bytes(size))
        one.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    assert one.recv(1)
    for method, path in (
        ("GET", "/proxies"),
        ("PATCH", "/proxies/shop/toxics/bandwidth_downstream"),
        ("DELETE", "/proxies/shop/toxics/bandwidth_downstream"),
    ):
        assert api.ask(method, path, {"attributes": {"rate": 2}} if method == "PATCH" else None).status < 300
    assert len(_all(one)) == size - 1 + len(b"|2000000")  # nothing was lost on the way
    sender.join()


def test_a_proxy_is_disabled_while_its_reader_reads_nothing(api: Any, upstream: Any, connect: Connect) -> None:
    listen = api.proxy(upstream.address)
    one = connect(listen)
    one.setblocking(False)
    with suppress(BlockingIOError):
        while one.send(bytes(1 << 16)):
            pass  # until everything between here and the server and back is full
    assert api.ask("POST", "/proxies/shop", {"enabled": False}).status == 200
    assert api.ask("DELETE", "/proxies/shop").status == 204


def test_a_proxy_is_disabled_while_its_dial_is_pending(api: Any) -> None:
    """There, the request hung for more than 8 s: the dial is made in the loop that accepts."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = []
        for _ in range(4):  # more than its backlog holds: whoever comes now is neither accepted nor refused
            filler = socket.socket()
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(full.getsockname())
            fillers.append(filler)
        listen = api.proxy(full.getsockname())
        waiting = socket.socket()
        waiting.setblocking(False)
        with suppress(BlockingIOError):
            waiting.connect(listen)
            assert api.ask("GET", "/proxies/shop").status == 200
        assert api.ask("POST", "/proxies/shop", {"enabled": False}).json["enabled"] is False
        for one in (*fillers, waiting):
            one.close()


def test_toxics_of_a_new_proxy_are_there_from_its_first_connection_on(
    api: Any, upstream: Any, connect: Connect
) -> None:
    """Its issue 148: proxy and toxic cannot be made in one step there."""
    toxics = [{"type": "fail_first", "attributes": {"connections": 1}}]
    listen = api.proxy(upstream.address, toxics=toxics)
    with pytest.raises(ConnectionResetError):
        connect(listen).recv(1)
    one = connect(listen)
    one.sendall(b"x")
    assert one.recv(1) == b"x"
