"""Faults at HTTP requests and answers, through a real proxy, on a real server."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from premortem.faults.proxy import FaultProxy, ProxyHost

LONG_S = 10.0
ORDER = b'{"order_id": 7, "note": "a \\"order_id\\": b", "lines": [{"order_id": 1.50}]}'


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[str]

    def do_GET(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/chunked":
            self.answer(None, "Transfer-Encoding", "chunked")
            for piece in (ORDER[:9], ORDER[9:]):
                self.wfile.write(b"%x;ext=1\r\n%b\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nTrailer: 1\r\n\r\n")
        elif self.path == "/gzip":
            self.answer(gzip.compress(ORDER), "Content-Encoding", "gzip")
        elif self.path == "/until-end":
            self.answer(None, "Connection", "close")
            self.wfile.write(ORDER)
        else:
            self.answer(ORDER, "X-Shop", "1")

    do_POST = do_PUT = do_HEAD = do_GET  # noqa: N815 - the names that http.server calls

    def answer(self, body: bytes | None, name: str, value: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header(name, value)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body is not None and self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def shop() -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def seen() -> list[str]:
    Shop.seen = []
    return Shop.seen


@pytest.fixture
def proxy(shop: ThreadingHTTPServer, host: ProxyHost) -> Iterator[FaultProxy]:
    with host.open(("127.0.0.1", shop.server_address[1])) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    client = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=LONG_S)
    yield client
    client.close()


def get(client: http.client.HTTPConnection, path: str = "/orders", method: str = "GET") -> tuple[int, bytes, str]:
    client.request(method, path, body=b"x" * 100 if method == "POST" else None)
    answer = client.getresponse()
    return answer.status, answer.read(), answer.headers.get("Content-Type", "")


Client = http.client.HTTPConnection


def test_a_made_up_503_and_then_the_server(proxy: FaultProxy, client: Client, seen: list[str]) -> None:
    with proxy.at("http:POST /orders#1=status 503", **{"Retry-After": "2", "body": "no"}) as armed:
        client.request("POST", "/orders?x=1", body=b"{}")
        answer = client.getresponse()
        assert (answer.status, answer.read(), answer.headers["Retry-After"]) == (503, b"no", "2")
        assert get(client, method="POST")[:2] == (200, ORDER)
        assert [strike.recipe for strike in armed.strikes] == [
            "http:POST /orders#1=status 503 Retry-After: 2; body: no"
        ]
    assert seen == ["POST /orders"]


def test_the_recipe_of_a_hit_needs_no_options(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:POST /orders#1=status 503 Retry-After: 2; body: no; no"):
        client.request("POST", "/orders")
        answer = client.getresponse()
        assert (answer.status, answer.read(), answer.headers["Retry-After"]) == (503, b"no; no", "2")


def test_done_and_yet_503(proxy: FaultProxy, client: Client, seen: list[str]) -> None:
    with proxy.at("http:POST *#1:after=status 503"):
        assert get(client, method="POST")[0] == 503
        assert get(client)[0] == 200
    assert seen == ["POST /orders", "GET /orders"]


@pytest.mark.parametrize(("when", "reached"), [("before", 0), ("sent", 1), ("after", 1)])
@pytest.mark.parametrize("effect", ["cut", "close"])
def test_a_request_is_cut(  # noqa: PLR0913, PLR0917 - three parameters, three fixtures
    when: str, reached: int, effect: str, proxy: FaultProxy, client: Client, seen: list[str]
) -> None:
    with (
        proxy.at(f"http:* /orders#1:{when}={effect}") as armed,
        pytest.raises((ConnectionError, http.client.HTTPException)),
    ):
        get(client, method="POST")
    assert armed.hit
    until = time.monotonic() + LONG_S
    while len(seen) < reached and time.monotonic() < until:
        time.sleep(0.002)
    assert len(seen) == reached


def test_html_instead_of_json(proxy: FaultProxy, client: Client) -> None:
    for when in ("before", "after"):
        with proxy.at(f"http:GET /orders#1:{when}=html"):
            status, body, kind = get(client)
        assert (status, kind) == (200, "text/html; charset=utf-8")
        assert body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("path", ["/orders", "/chunked"])
@pytest.mark.parametrize("effect", ["truncate", "truncate 5"])
def test_a_body_cut_short(path: str, effect: str, proxy: FaultProxy, client: Client) -> None:
    with proxy.at(f"http:GET {path}#1:after={effect}") as armed, pytest.raises(http.client.IncompleteRead) as caught:
        get(client, path)
    assert len(caught.value.partial) < len(ORDER)
    assert armed.hit


def test_a_body_up_to_the_end_is_cut_and_nobody_can_tell(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:GET /until-end#1:after=truncate"):
        assert get(client, "/until-end")[1] == ORDER[: len(ORDER) // 2]


def test_mislabelled(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:GET /orders#1:after=content-type text/csv", "http:GET /orders#2:after=encoding utf-16"):
        assert get(client) == (200, ORDER, "text/csv")
        assert get(client) == (200, ORDER, "application/json; charset=utf-16")
    with proxy.at("http:GET /orders#1:after=encoding gzip", "http:GET /orders#2:after=header X-Shop: closed; sorry"):
        client.request("GET", "/orders")
        answer = client.getresponse()
        assert answer.headers["Content-Encoding"] == "gzip"
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(answer.read())
        client.request("GET", "/orders")
        answer = client.getresponse()
        assert answer.headers.get_all("X-Shop") == ["closed; sorry"]
        assert answer.read() == ORDER


@pytest.mark.parametrize("path", ["/orders", "/chunked", "/gzip", "/until-end"])
def test_a_field_is_renamed(path: str, proxy: FaultProxy, client: Client) -> None:
    with proxy.at(f"http:GET {path}#1:after=rename order_id id") as armed:
        client.request("GET", path)
        answer = client.getresponse()
        body = answer.read()
        assert body == ORDER.replace(b'"order_id": 7', b'"id": 7').replace(b'"order_id": 1.50', b'"id": 1.50')
        assert json.loads(body)["note"] == 'a "order_id": b'
        assert get(client)[0] == 200
        assert armed.hit


def test_a_field_that_is_not_there_is_no_hit(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:GET *#1+:after=rename price cost") as armed:
        for path in ("/orders", "/gzip", "/chunked", "/until-end"):
            get(client, path)
        assert not armed.hit


def test_a_drip_is_slow_and_whole(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:GET /orders#1:after=drip 20/0.02") as armed:
        began = time.monotonic()
        assert get(client)[1] == ORDER
        assert time.monotonic() - began >= 0.02 * ((len(ORDER) - 1) // 20)
        assert armed.hit


def test_a_head_request_has_no_body(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:HEAD /orders#2=status 500", "http:HEAD /orders#3:after=status 500") as armed:
        assert [get(client, method="HEAD")[0] for _ in range(4)] == [200, 500, 500, 200]
        assert len(armed.strikes) == 2


def raw(proxy: FaultProxy, *pieces: bytes) -> bytes:
    with socket.create_connection(proxy.address, LONG_S) as client:
        for piece in pieces:
            client.sendall(piece)
        client.shutdown(socket.SHUT_WR)
        heard = b""
        while piece := client.recv(65536):
            heard += piece
        return heard


def test_in_a_pipeline_made_up_answers_come_in_their_turn(proxy: FaultProxy, seen: list[str]) -> None:
    requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(5))
    with proxy.at("http:GET /1#1=status 503", "http:GET /2#1=status 502", "http:GET /4#1=status 501"):
        heard = raw(proxy, requests)
    statuses = [line.split()[1] for line in heard.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    codes = [word for word in heard.replace(b"HTTP/1.1 ", b"\nHTTP ").split(b"\n") if word.startswith(b"HTTP ")]
    assert [code.split()[1] for code in codes] == [b"200", b"503", b"502", b"200", b"501"], statuses
    assert seen == ["GET /0", "GET /3"]


def test_who_waits_for_100_continue_is_answered_at_once(proxy: FaultProxy, seen: list[str]) -> None:
    head = b"PUT /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n"
    with proxy.at("http:PUT /orders#1=status 413"), socket.create_connection(proxy.address, LONG_S) as client:
        client.sendall(head)
        heard = b""
        while piece := client.recv(65536):
            heard += piece
        assert heard.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in heard
    assert seen == []


def test_an_interim_answer_is_not_the_answer(proxy: FaultProxy, seen: list[str]) -> None:
    head = b"PUT /orders HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with proxy.at("http:PUT /orders#1:after=status 500"), socket.create_connection(proxy.address, LONG_S) as client:
        client.sendall(head)
        heard = client.recv(65536)
        assert heard == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b"body")
        assert client.recv(65536).startswith(b"HTTP/1.1 500 ")
    assert seen == ["PUT /orders"]


def test_a_kept_connection_ends_after_an_answer(proxy: FaultProxy, client: Client) -> None:
    with proxy.at("http:Response#2:after=close") as armed:
        assert get(client)[0] == 200
        assert get(client)[0] == 200
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            get(client)
        assert armed.hit


def test_a_recording_names_requests_without_their_query(proxy: FaultProxy, client: Client) -> None:
    with proxy.record("http") as recording:
        get(client, "/orders?id=7")
        get(client, "/orders", "POST")
        points = [(seen.point, seen.direction) for seen in recording.seen]
    assert points == [
        ("http:GET /orders#1", "up"),
        ("http:Response#1", "down"),
        ("http:POST /orders#1", "up"),
        ("http:Response#2", "down"),
    ]
