"""Who may ask the API, and how much; and that clients which speak HTTP otherwise are understood."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.proxy.toxiproxy import ApiServer
from premortem.faults.proxy.toxiproxy.config import Address
from premortem.faults.proxy.toxiproxy.handler import BadBodyError, chunks, is_ours

Connect = Callable[[tuple[str, int]], socket.socket]


def test_a_browser_gets_nothing(api: Any) -> None:
    answer = api.ask("GET", "/proxies", User_Agent="Mozilla/5.0 (X11; Linux x86_64)")
    assert (answer.status, answer.body) == (403, b"User agent not allowed\n")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8474", "10.0.0.1", "localhost.evil.example", "[::2]:80"]
)
def test_another_name_gets_nothing(api: Any, upstream: Any, host: str) -> None:
    answer = api.ask("POST", "/proxies", {"name": "x", "upstream": upstream.name}, Host=host)
    assert answer.status == 403
    assert api.ask("GET", "/proxies").json == {}


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8474", "127.0.0.1:1", "127.9.9.9", "[::1]:8474", "[::1]", ""])
def test_a_name_of_loopback_is_ours(host: str) -> None:
    assert is_ours(host, "127.0.0.1")


@given(st.text())
def test_any_host_is_judged(host: str) -> None:
    assert is_ours(host, "127.0.0.1") in (True, False)


def test_it_listens_on_loopback_alone(api: Any) -> None:
    for host in ("0.0.0.0", "192.0.2.1"):
        with pytest.raises(FaultError):
            ApiServer(api.proxies, Address(host, 0))


def test_a_taken_port_is_said_in_words(api: Any) -> None:
    with pytest.raises(ConfigurationError, match="the API cannot listen there"):
        ApiServer(api.proxies, api.server.address)


def _raw(connect: Connect, api: Any, text: bytes) -> bytes:
    one = connect((api.server.address.host, api.server.address.port))
    one.sendall(text)
    one.shutdown(socket.SHUT_WR)
    answer = b""
    while data := one.recv(1 << 16):
        answer += data
    return answer


def test_a_body_in_chunks_is_understood(api: Any, connect: Connect) -> None:
    """As .NET's HttpClient sends JSON."""
    told = b'{"name": "shop", "upstream": "127.0.0.1:1"}'
    pieces = [told[start : start + 7] for start in range(0, len(told), 7)]
    body = b"".join(b"%x;ignored=1\r\n%s\r\n" % (len(one), one) for one in pieces) + b"0\r\nTrailer: 1\r\n\r\n"
    head = b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    assert b" 201 " in _raw(connect, api, head + body).partition(b"\r\n")[0]


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=8))
def test_chunks_are_joined(pieces: list[bytes]) -> None:
    told = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\nnext"
    stream = io.BytesIO(told)
    assert chunks(stream.readline, stream.read) == b"".join(pieces)
    assert stream.read() == b"next"


@given(st.binary())
def test_any_bytes_are_chunks_or_refused(data: bytes) -> None:
    stream = io.BytesIO(data)
    with contextlib.suppress(BadBodyError):
        assert len(chunks(stream.readline, stream.read)) <= len(data)


@pytest.mark.parametrize("length", [b"-1", b"x", b"1048577", b"9" * 6000])
def test_a_length_that_is_none_is_refused(api: Any, connect: Connect, length: bytes) -> None:
    head = b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + length + b"\r\n\r\n"
    assert b" 400 " in _raw(connect, api, head).partition(b"\r\n")[0]
    assert api.ask("GET", "/proxies").status == 200


def test_several_requests_on_one_connection(api: Any, connect: Connect) -> None:
    one = b"GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert _raw(connect, api, one * 3).count(b'"version"') == 3


def test_a_client_that_says_nothing_holds_up_nobody(api: Any, connect: Connect) -> None:
    silent = [connect((api.server.address.host, api.server.address.port)) for _ in range(20)]
    silent[0].sendall(b"POST /proxies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert api.ask("GET", "/version").status == 200


def test_requests_at_once_do_not_lose_each_other(api: Any, upstream: Any) -> None:
    """Eight clients add and delete toxics of their own on one proxy, and create proxies, all under one name."""
    api.proxy(upstream.address)
    statuses: list[int] = []

    def work(nth: int) -> None:
        for turn in range(5):
            name = f"toxic-{nth}-{turn}"
            told = {"name": name, "type": "latency", "attributes": {"latency": 1}}
            statuses.append(api.ask("POST", "/proxies/shop/toxics", told).status)
            statuses.append(api.ask("PATCH", f"/proxies/shop/toxics/{name}", {"toxicity": 0.5}).status)
            if turn:
                statuses.append(api.ask("DELETE", f"/proxies/shop/toxics/{name}").status)
        made.append(api.ask("POST", "/proxies", {"name": "one", "upstream": upstream.name}).status)

    made: list[int] = []
    threads = [threading.Thread(target=work, args=(nth,)) for nth in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) == {200, 204}
    assert sorted(made) == [201] + [409] * 7
    left = {one["name"] for one in api.ask("GET", "/proxies/shop/toxics").json}
    assert left == {f"toxic-{nth}-0" for nth in range(8)}
