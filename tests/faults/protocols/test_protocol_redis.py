"""Faults at Redis commands, through a real proxy, on a real Valkey, over raw sockets."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
import valkey

from premortem.faults.proxy import FaultProxy, ProxyHost
from premortem.servers import Servers

LONG_S = 10.0
Direct = valkey.Valkey


@pytest.fixture
def direct(servers: Servers) -> Iterator[Direct]:
    """A client past the proxy, of an empty server."""
    with valkey.Valkey.from_url(servers.valkey().admin_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def proxy(servers: Servers, host: ProxyHost) -> Iterator[FaultProxy]:
    parts = urlsplit(servers.valkey().admin_url)
    with host.open((parts.hostname or "", parts.port or 6379)) as proxy:
        yield proxy


class Talk:
    """One connection; `say` sends a command or many, `line` reads one line."""

    def __init__(self, port: int, password: str | None) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), LONG_S)
        self.file = self.socket.makefile("rb")
        if password:
            self.say(f"AUTH {password}")
            assert self.line() == "+OK"

    def say(self, *commands: str) -> None:
        encoded = b""
        for command in commands:
            words = command.encode().split()
            encoded += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        self.socket.sendall(encoded)

    def line(self) -> str:
        try:
            return self.file.readline().decode().rstrip("\r\n")
        except ConnectionResetError:
            return "reset"

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.fixture
def talk(proxy: FaultProxy, servers: Servers) -> Iterator[Talk]:
    talk = Talk(proxy.port, urlsplit(servers.valkey().admin_url).password)
    yield talk
    talk.close()


@pytest.mark.parametrize(("when", "value"), [("before", "1"), ("after", "2"), ("sent", "2")])
def test_the_second_set_is_cut(when: str, value: str, proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at(f"redis:SET#2:{when}") as armed:
        talk.say("SET a 1")
        assert talk.line() == "+OK"
        talk.say("SET a 2")
        assert talk.line() == "reset"
        assert armed.hit
    until = time.monotonic() + LONG_S
    while direct.get("a") != value and time.monotonic() < until:
        time.sleep(0.002)
    assert direct.get("a") == value


def test_made_up_answers_come_in_their_turn(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:SET#2=error OOM command not allowed", "redis:GET#1=nil") as armed:
        talk.say("SET a 1", "INCR n", "SET a 2", "GET a", "GET a")
        assert talk.lines(6) == ["+OK", ":1", "-OOM command not allowed", "$-1", "$1", "1"]
        assert [strike.recipe for strike in armed.strikes] == [
            "redis:SET#2=error OOM command not allowed",
            "redis:GET#1=nil",
        ]
    assert direct.get("a") == "1"


def test_an_answer_that_is_replaced_after_the_fact(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:INCR#1:after=error TIMEOUT") as armed:
        talk.say("INCR n", "INCR n")
        assert talk.lines(2) == ["-TIMEOUT", ":2"]
        assert armed.hit
    assert direct.get("n") == "2"


def test_a_transaction_with_a_refused_command_is_not_executed(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:SET#2=error OOM"):
        talk.say("MULTI", "SET a 1", "SET b 2", "EXEC", "PING")
        answers = talk.lines(5)
    assert answers[:3] == ["+OK", "+QUEUED", "-OOM"]
    assert answers[3].startswith("-EXECABORT")
    assert answers[4] == "+PONG"
    assert direct.get("a") is None


@pytest.mark.parametrize("effect", ["nil", "error EXECABORT"])
def test_an_exec_that_fails_leaves_no_transaction(effect: str, proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at(f"redis:EXEC#1={effect}") as armed:
        talk.say("MULTI", "SET a 1", "EXEC", "SET b 2")
        assert talk.lines(4) == ["+OK", "+QUEUED", "*-1" if effect == "nil" else "-EXECABORT", "+OK"]
        assert armed.hit
    assert direct.mget("a", "b") == [None, "2"]


def test_after_exec_the_transaction_is_done(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:EXEC#1:after"):
        talk.say("MULTI", "SET a 1", "EXEC")
        assert talk.lines(3) == ["+OK", "+QUEUED", "reset"]
    assert direct.get("a") == "1"


def test_resp3_pushes_and_nothing(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:GET#1=nil", "redis:Push#2:before=delay 0.01") as armed:
        talk.say("HELLO 3", "SUBSCRIBE news", "SET a 1", "GET a", "GET a")
        seen: list[str] = []
        while seen[-3:] != ["_", "$1", "1"]:
            seen.append(talk.line())
        assert ">3" in seen
        assert "+OK" in seen
        direct.publish("news", "one")
        assert talk.lines(7)[-1] == "one"
        direct.publish("news", "two")
        assert talk.lines(7)[-1] == "two"
        assert [strike.recipe for strike in armed.strikes] == ["redis:GET#1=nil", "redis:Push#2=delay 0.01"]


def test_resp2_messages_are_no_answers(proxy: FaultProxy, talk: Talk, direct: Direct) -> None:
    with proxy.at("redis:PING#1:after=error BUSY") as armed:
        talk.say("SUBSCRIBE a b")
        assert talk.lines(12)[-1] == ":2"
        direct.publish("a", "x")
        assert talk.lines(7)[-1] == "x"
        talk.say("PING")
        assert talk.line() == "-BUSY"
        assert armed.hit


@pytest.mark.usefixtures("direct")
def test_silence_is_kept(proxy: FaultProxy, talk: Talk) -> None:
    with proxy.at("redis:GET#1:after=error LATE"):
        talk.say("CLIENT REPLY SKIP", "SET a 1", "SET b 1", "CLIENT REPLY OFF", "SET c 1", "CLIENT REPLY ON", "GET a")
        assert talk.lines(3) == ["+OK", "+OK", "-LATE"]


@pytest.mark.usefixtures("direct")
def test_by_key_by_subcommand_and_inline(proxy: FaultProxy, talk: Talk) -> None:
    with proxy.at("redis:SET stock:7#1=error NOT7", "redis:CLIENT GETNAME#1=nil", "redis:PING#1=error INLINE"):
        talk.say("SET stock:6 1", "SET stock:7 1", "client getname")
        assert talk.lines(3) == ["+OK", "-NOT7", "$-1"]
        talk.socket.sendall(b"set stock:6 2\r\n\r\nping\r\nget stock:6\r\n")
        assert talk.lines(4) == ["+OK", "-INLINE", "$1", "2"]


def test_the_driver_sees_what_a_server_would_say(proxy: FaultProxy, servers: Servers, direct: Direct) -> None:
    password = urlsplit(servers.valkey().admin_url).password
    with valkey.Valkey(port=proxy.port, password=password, socket_timeout=LONG_S) as client:
        client.set("a", "1")
        with proxy.at("redis:GET#1=error LOADING Valkey is loading the dataset in memory"):
            with pytest.raises(valkey.exceptions.BusyLoadingError):
                client.get("a")
            assert client.get("a") == b"1"
        with proxy.at("redis:SET#1=error READONLY You can't write against a read only replica.") as armed:
            with pytest.raises(valkey.exceptions.ReadOnlyError):
                client.set("a", "2")
            assert armed.hit
    assert direct.get("a") == "1"


@pytest.mark.usefixtures("direct")
def test_a_recording_names_commands_and_replies(proxy: FaultProxy, talk: Talk) -> None:
    with proxy.record("redis") as recording:
        talk.say("SET a 1", "GET a")
        talk.lines(3)
        assert [seen.point for seen in recording.seen] == [
            "redis:SET#1",
            "redis:GET#1",
            "redis:Reply#1",
            "redis:Reply#2",
        ]


@pytest.mark.usefixtures("direct")
def test_large_values_pass(proxy: FaultProxy, talk: Talk) -> None:
    value = "x" * 300_000
    with proxy.at("redis:GET#2:after=error NO", "redis:SET#2=error FULL"):
        talk.say(f"SET a {value}", f"SET a {value}", "GET a", "GET a")
        assert talk.lines(5) == ["+OK", "-FULL", "$300000", value, "-NO"]
