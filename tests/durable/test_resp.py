"""RESP over a real socket: answers in any slices, and answers that are none."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.durable.sessions.resp import Connection, Reply, RespError, Server, encoded
from premortem.errors import ConfigurationError


@contextmanager
def answering(said: bytes, slices: int = 1) -> Iterator[Server]:
    """A server that hears one message, says this and hangs up."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            step = max(1, len(said) // slices)
            for at in range(0, len(said), step):
                connection.sendall(said[at : at + step])

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Server("127.0.0.1", listener.getsockname()[1])
    finally:
        thread.join(10)
        listener.close()


def asked(said: bytes, commands: int = 1, slices: int = 1) -> list[Reply]:
    with answering(said, slices) as server:
        connection = Connection(server, 5)
        try:
            return connection.ask(*[("PING",)] * commands)
        finally:
            connection.close()


REPLIES = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=50)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=8,
)


def said(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%s\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(said, reply))


@given(replies=st.lists(REPLIES, min_size=1, max_size=4), slices=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_answers_come_back_as_they_were_said(replies: list[Any], slices: int) -> None:
    assert asked(b"".join(map(said, replies)), len(replies), slices) == replies


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"$5\r\nab",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"$x\r\n",
        b"$-2\r\n",
        b":1",
        b"*1\r\n" * 20,
        b"*2\r\n:1\r\n",
    ],
)
def test_what_is_no_answer_is_a_broken_connection(nonsense: bytes) -> None:
    with pytest.raises(ConnectionError):
        asked(nonsense)


def test_a_refusal_does_not_shift_the_answers_behind_it() -> None:
    with pytest.raises(RespError, match="OOM command not allowed"):
        asked(b":1\r\n-OOM command not allowed\r\n:3\r\n", 3)


@pytest.mark.parametrize("url", ["", "http://a", "redis://", "redis://h:x", "redis://h/notanumber", "redis://h:99999"])
def test_a_url_that_is_none_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"has to look like redis://:password@host:6379/0"):
        Server.of(url)


def test_what_a_url_says() -> None:
    assert Server.of("redis://u%40:p%2F@h:7/3") == Server("h", 7, "", "u@", "p/", 3)
    assert Server.of("rediss://h").tls
    assert Server.of("unix:///run/valkey.sock?db=2").path == "/run/valkey.sock"
    assert "p/" not in repr(Server.of("redis://:p%2F@h"))
    assert encoded(("SET", "k", b"\0\r\n", 7)) == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\0\r\n\r\n$1\r\n7\r\n"
