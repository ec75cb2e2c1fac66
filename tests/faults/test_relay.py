"""The relay between real sockets: a faithful one, until it falls silent."""

from __future__ import annotations

import os
import random
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.events import Event
from premortem.faults.relay import Relay

LONG_S = 10.0  # a test that waits this long has failed
MIB = 1 << 20


def echo(request: socket.socket) -> None:
    while piece := request.recv(1 << 16):
        request.sendall(piece)


def answer_at_the_end(request: socket.socket) -> None:
    said = bytearray()
    while piece := request.recv(1 << 16):
        said += piece
    request.sendall(said[::-1])


@contextmanager
def serving(talk: Callable[[socket.socket], None]) -> Iterator[tuple[str, int]]:
    """A server that talks to every client in a thread of its own."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.settimeout(LONG_S)
            with suppress(ConnectionError):
                talk(self.request)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield "127.0.0.1", server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def echo_relay() -> Iterator[Relay]:
    with serving(echo) as address, Relay(address) as relay:
        yield relay


def connected(relay: Relay) -> socket.socket:
    return socket.create_connection(("127.0.0.1", relay.port), timeout=LONG_S)


def read(client: socket.socket, count: int) -> bytes:
    heard = bytearray()
    while len(heard) < count and (piece := client.recv(count - len(heard))):
        heard += piece
    return bytes(heard)


def read_all(client: socket.socket) -> bytes:
    heard = bytearray()
    while piece := client.recv(1 << 16):
        heard += piece
    return bytes(heard)


@settings(max_examples=40)
@given(pieces=st.lists(st.binary(min_size=1, max_size=5000), max_size=8))
def test_bytes_pass_both_ways_unchanged(echo_relay: Relay, pieces: list[bytes]) -> None:
    with connected(echo_relay) as client:
        for piece in pieces:
            client.sendall(piece)
            assert read(client, len(piece)) == piece


def test_many_megabytes_pass_both_ways_at_once(echo_relay: Relay) -> None:
    content = random.Random(1).randbytes(20 * MIB)
    with connected(echo_relay) as client:
        sender = threading.Thread(target=client.sendall, args=(content,))
        sender.start()
        heard = read(client, len(content))
        sender.join()
    assert heard == content


def test_a_reader_that_sleeps_slows_down_nobody_else(echo_relay: Relay) -> None:
    with connected(echo_relay) as lazy, connected(echo_relay) as other:
        lazy.setblocking(False)
        sent, block = 0, bytes(MIB)
        with suppress(BlockingIOError):
            while sent < 512 * MIB:
                sent += lazy.send(block)
        assert 0 < sent < 512 * MIB
        other.sendall(b"hello")
        assert read(other, 5) == b"hello"


def test_a_client_that_has_said_all_still_hears_the_answer() -> None:
    content = os.urandom(3 * MIB)
    with serving(answer_at_the_end) as address, Relay(address) as relay, connected(relay) as client:
        client.sendall(content)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == content[::-1]


def test_a_server_that_hangs_up_is_seen_to() -> None:
    def hang_up(request: socket.socket) -> None:
        request.sendall(b"bye")

    with serving(hang_up) as address, Relay(address) as relay, connected(relay) as client:
        assert read_all(client) == b"bye"


def test_a_refused_connection_ends_and_the_relay_lives_on() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    with Relay(address) as relay:
        with connected(relay) as client:
            assert client.recv(1) == b""
        with socketserver.ThreadingTCPServer(address, socketserver.BaseRequestHandler, bind_and_activate=False) as late:
            late.allow_reuse_address = True
            late.server_bind()
            late.server_activate()
            with connected(relay) as client:
                accepted, _ = late.get_request()
                with accepted:
                    client.sendall(b"there")
                    assert read(accepted, 5) == b"there"


def test_silence_swallows_tells_the_first_strike_and_cuts_what_lost_bytes(heard: list[Event]) -> None:
    with serving(echo) as address, Relay(address) as relay:
        with connected(relay) as talking, connected(relay) as idle:
            for client in (talking, idle):
                client.sendall(b"before")
                assert read(client, 6) == b"before"
            with relay.silent():
                talking.sendall(b"lost")
                talking.sendall(b"lost, too")
                talking.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    talking.recv(1)
            talking.settimeout(LONG_S)
            with pytest.raises((ConnectionError, EOFError)):  # the end, or a reset: bytes were under way
                raise EOFError if talking.recv(1) == b"" else AssertionError
            idle.sendall(b"after")
            assert read(idle, 5) == b"after"
        with connected(relay) as client:
            client.sendall(b"new")
            assert read(client, 3) == b"new"
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"]
    assert "bytes swallowed" in str(heard[0].get("what"))


def test_a_connection_made_in_silence_is_not_answered(heard: list[Event]) -> None:
    with serving(echo) as address, Relay(address) as relay, relay.silent(), connected(relay) as client:
        client.sendall(b"anybody?")
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert heard[0].name == "fault.struck"


def test_silence_in_which_nobody_speaks_is_no_strike(echo_relay: Relay, heard: list[Event]) -> None:
    with connected(echo_relay) as client:
        with echo_relay.silent():
            pass
        client.sendall(b"hello")
        assert read(client, 5) == b"hello"
    assert "fault.struck" not in [event.name for event in heard]


def test_every_silence_has_a_strike_of_its_own(heard: list[Event]) -> None:
    with serving(echo) as address, Relay(address) as relay:
        for _ in range(2):
            with connected(relay) as client, relay.silent():
                client.sendall(b"lost")
                client.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.recv(1)
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"] * 2


@pytest.mark.parametrize("host", ["192.0.2.1", "8.8.8.8", "0.0.0.0"])
def test_what_is_not_on_loopback_is_refused(host: str) -> None:
    with pytest.raises(FaultError, match="not on loopback"):
        Relay((host, 80))


def test_closed_it_leaves_no_thread_no_port_and_no_connection() -> None:
    with serving(echo) as address:
        relay = Relay(address)
        with connected(relay) as client:
            client.sendall(b"x")
            assert read(client, 1) == b"x"
            relay.close()
            relay.close()
            assert client.recv(1) == b""
        assert not relay._thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            connected(relay)
