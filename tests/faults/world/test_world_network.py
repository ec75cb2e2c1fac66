"""Packets that are lost for real, in a network that nobody else is on."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress

import pytest

from premortem.errors import FaultError, Hung
from premortem.faults.network import Network

NEEDS = ("nft",)

Told = Callable[[], list[tuple[str, str]]]
Rules = Callable[[Network], AbstractContextManager[object]]


def answers(listener: socket.socket) -> None:
    def echo(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while piece := connection.recv(1 << 16):
                connection.sendall(piece)

    with suppress(OSError):  # shut down by the fixture
        while True:
            threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def port(network: Network) -> Iterator[int]:
    listener = network.listener()
    thread = threading.Thread(target=answers, args=(listener,))
    thread.start()
    yield int(listener.getsockname()[1])
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def ask(port: int, size: int = 10, times: int = 1) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 30) as client:
        said = b""
        for _ in range(times):
            client.sendall(b"x" * size)
            while len(said) % size or not said:
                said += client.recv(1 << 16)
    return said


def test_who_is_inside_reaches_who_is_inside_and_nobody_else(network: Network, port: int) -> None:
    assert network.run(ask, port) == b"x" * 10
    with network.open_socket() as client:
        client.connect(("127.0.0.1", port))
    with pytest.raises(ConnectionRefusedError):
        ask(port)
    with socket.create_server(("127.0.0.1", 0)) as outside, pytest.raises(ConnectionRefusedError):
        network.run(ask, outside.getsockname()[1])


def test_what_is_lost_is_sent_again(network: Network, port: int, told: Told) -> None:
    with network.every(4) as rule:
        assert network.run(ask, port, 2000, 10) == b"x" * 20_000 or rule.packets
        assert rule.packets > 2
    assert told() == [("struck", "packet loss"), ("lifted", "packet loss")]


def test_a_share_is_lost(network: Network, port: int, told: Told) -> None:
    with network.lossy(30) as rule:
        while rule.packets < 3:
            network.run(ask, port)
    assert told()[0] == ("struck", "packet loss")
    assert network.run(ask, port) == b"x" * 10


def test_nothing_comes_through_where_all_is_lost(network: Network, port: int) -> None:
    with network.lossy(100, port), pytest.raises(Hung):
        network.run(ask, port, time_s=0.3)


def test_a_connection_that_is_not_answered_hangs_and_one_that_is_there_goes_on(network: Network, port: int) -> None:
    with network.open_socket() as old, network.open_socket() as new:
        old.connect(("127.0.0.1", port))
        with network.unanswered(port) as rule:
            new.settimeout(0.3)
            with pytest.raises(TimeoutError):
                new.connect(("127.0.0.1", port))
            assert rule.packets
            old.sendall(b"still there")
            assert old.recv(100) == b"still there"


def test_a_refused_connection_and_one_that_is_reset(network: Network, port: int) -> None:
    with network.open_socket() as old:
        old.connect(("127.0.0.1", port))
        with network.refused(port) as rule:
            with pytest.raises(ConnectionRefusedError):
                network.run(ask, port)
            old.sendall(b"hello")
            with pytest.raises(ConnectionResetError):
                old.recv(100)
            assert rule.packets == 2


def test_above_the_limit_packets_are_lost(network: Network, port: int) -> None:
    with network.limited(20_000) as rule:
        assert len(network.run(ask, port, 40_000)) == 40_000
        assert rule.packets


def test_a_fault_that_hits_nothing_is_not_told_as_a_strike(network: Network, port: int, told: Told) -> None:
    with network.lossy(100, port=1):
        network.run(ask, port)
    assert told() == [("lifted", "packet loss")]


def test_a_server_goes_on_inside_until_its_block_ends(network: Network) -> None:
    code = "import socket; s = socket.create_server(('', 0)); print(s.getsockname()[1], flush=True); s.accept()"
    with network.started([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        with network.open_socket() as client:
            client.connect(("127.0.0.1", port))
    assert server.returncode is not None
    with network.open_socket() as client, pytest.raises(ConnectionRefusedError):
        client.connect(("127.0.0.1", port))


def test_rules_stand_beside_each_other(network: Network, port: int) -> None:
    with network.lossy(100, port=1), network.refused(port), pytest.raises(ConnectionRefusedError):
        network.run(ask, port)
    assert network.run(ask, port)
    assert network.nft("list", "ruleset") == ""


@pytest.mark.parametrize(
    "wrong",
    [
        lambda network: network.lossy(0),
        lambda network: network.lossy(101),
        lambda network: network.every(1),
        lambda network: network.limited(0),
        lambda network: network.refused(0),
        lambda network: network.refused(1 << 16),
    ],
)
def test_values_that_strike_nothing_are_refused(wrong: Rules, network: Network) -> None:
    with pytest.raises(FaultError, match=r"has to be|is no port"), wrong(network):
        pass


def test_what_the_kernel_refuses_is_said(network: Network) -> None:
    with pytest.raises(FaultError, match="syntax error"):
        network.nft("nonsense")
