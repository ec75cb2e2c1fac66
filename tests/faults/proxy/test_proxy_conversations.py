"""Faults at messages: the stages alone with a protocol of this test's own, and real servers through the process."""

from __future__ import annotations

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.faults.proxy import FaultProxy, ProxyHost
from premortem.faults.proxy.chain import Chain
from premortem.faults.proxy.kinds.at import At
from premortem.faults.proxy.protocols import Action, Cut, Direction, Hit, Pass, Reply, Wait
from premortem.faults.proxy.stream import Aside, Item, Last
from premortem.faults.proxy.talk import Talk


class Lines:
    """A protocol of lines: each is what is to be done with it."""

    def __init__(self) -> None:
        self._rest: dict[Direction, bytes] = {"up": b"", "down": b""}

    def feed(self, direction: Direction, data: bytes) -> list[Action]:
        *lines, self._rest[direction] = (self._rest[direction] + data).split(b"\n")
        actions: list[Action] = []
        for line in lines:
            if line == b"cut":
                return [*actions, Hit("lines:cut#1", "cut"), Cut()]
            if line == b"end":
                return [*actions, Cut(reset=False)]
            if line == b"wait":
                actions.append(Wait(2.0))
            elif line == b"reply":
                actions.append(Reply(b"made up\n"))
            else:
                actions.append(Pass(line + b"\n"))
        return actions

    def end(self, direction: Direction) -> list[Action]:
        rest, self._rest[direction] = self._rest[direction], b""
        return [Pass(rest)] if rest else []


def talking() -> tuple[Chain, Chain]:
    talk, up, down = Talk(5, Lines()), Chain(), Chain()
    up.add(5, talk.stage("up"))
    down.add(5, talk.stage("down"))
    return up, down


def through(items: list[Item]) -> bytes:
    return b"".join(item for item in items if isinstance(item, bytes))


@given(lines=st.lists(st.sampled_from([b"a", b"bc", b""]), max_size=9), cuts=st.lists(st.integers(0, 30), max_size=5))
def test_messages_pass_however_they_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    whole, (up, _) = b"\n".join(lines), talking()
    out, last = list[Item](), 0
    for cut in [*sorted(cuts), len(whole)]:
        if whole[last:cut]:
            out += up.feed(0.0, whole[last:cut])
        last = max(last, cut)
    assert through(out) + through(up.remove(5, 0.0)) == whole


def test_what_follows_a_wait_waits_and_the_other_direction_does_not() -> None:
    up, down = talking()
    assert through(up.feed(0.0, b"a\nwait\nb\nreply\n")) == b"a\n"
    assert through(down.feed(0.5, b"c\n")) == b"c\n"
    assert up.due == 2.0
    out = up.ready(2.0)
    assert out == [b"b\n", Aside(5, Reply(b"made up\n"))]
    assert down.inject(5, 2.0, b"made up\n") == [b"made up\n"]


def test_after_a_cut_nothing_passes_in_either_direction() -> None:
    up, down = talking()
    out = up.feed(0.0, b"a\ncut\nb\n")
    assert out == [b"a\n", Aside(5, Hit("lines:cut#1", "cut")), Last.CUT]
    assert up.feed(1.0, b"c\n") == []
    assert down.feed(1.0, b"d\n") == []
    assert down.finish(1.0, Last.END) == []


def test_made_up_bytes_do_not_overtake_what_waits() -> None:
    _, down = talking()
    down.feed(0.0, b"wait\nlate\n")
    assert down.inject(5, 1.0, b"made up\n") == []
    assert down.ready(2.0) == [b"late\n", b"made up\n"]


class Asked:
    """A real web server, and what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                asked.append(self.path)
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_address[1]


def get(proxy: FaultProxy, path: str) -> int:
    connection = http.client.HTTPConnection(*proxy.address, timeout=20)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def test_a_request_is_lost_after_the_server_has_acted_on_it(proxy_host: ProxyHost) -> None:
    with Asked() as web, proxy_host.open(web.address) as proxy:
        with proxy.at("http:GET /pay#2:after") as lost:
            assert get(proxy, "/pay") == 200
            with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
                get(proxy, "/pay")
            assert get(proxy, "/pay") == 200
        assert web.asked == ["/pay"] * 3
        (strike,) = lost.strikes
        assert strike.recipe == "http:GET /pay#2:after"
        assert strike.connection == 2


def test_a_request_is_lost_before_the_server_hears_of_it(proxy_host: ProxyHost) -> None:
    with Asked() as web, proxy_host.open(web.address) as proxy:
        with proxy.at("http:GET /pay#1") as lost, pytest.raises((ConnectionResetError, http.client.RemoteDisconnected)):
            get(proxy, "/pay")
        assert lost.hit
        assert web.asked == []


def test_an_answer_is_made_up(proxy_host: ProxyHost) -> None:
    with Asked() as web, proxy_host.open(web.address) as proxy:
        with proxy.at("http:GET /#1=status 503", "http:GET /#3=status 429") as made_up:
            assert [get(proxy, "/") for _ in range(4)] == [503, 200, 429, 200]
        assert [strike.recipe for strike in made_up.strikes] == ["http:GET /#1=status 503", "http:GET /#3=status 429"]
        assert get(proxy, "/") == 200
        assert len(web.asked) == 3


def test_a_recording_has_seen_every_message_and_struck_none(proxy_host: ProxyHost) -> None:
    with Asked() as web, proxy_host.open(web.address) as proxy, proxy.record("http") as recording:
        assert get(proxy, "/a") == 200
        points = [seen.point for seen in recording.seen]
        assert any("GET /a#1" in point for point in points)
        assert not recording.hit


def test_a_recipe_that_makes_no_sense_is_the_users_error(echo_proxy: FaultProxy) -> None:
    for wrong in ("nonsense", "postgres:COMMIT#0", "syscall:fsync#1", "http:GET /#1=fly"):
        with pytest.raises(ConfigurationError):
            echo_proxy.at(wrong)
    with pytest.raises(ConfigurationError):
        echo_proxy.at()
    with pytest.raises(ConfigurationError):
        echo_proxy.record("gopher")
    with echo_proxy.at("http:GET /#1") as never, pytest.raises(ConfigurationError, match="arm another one"):
        never.change(recipes=("http:GET /#2",))
    assert not never.hit


def test_a_fault_without_recipe_of_the_connections_protocol_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        At("http", ("redis:SET#1",))
