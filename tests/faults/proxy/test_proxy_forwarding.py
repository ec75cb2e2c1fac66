"""Correct as a proxy, with and without faults: where Toxiproxy loses an answer, accepts for a dead server, or hangs."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults.proxy import Armed, FaultProxy, ProxyHost
from premortem.faults.proxy.kinds.fault import Directions

Connect = Callable[[FaultProxy], Any]
Serve = Callable[[Callable[[socket.socket], None]], AbstractContextManager[tuple[str, int]]]
Eventually = Callable[[Callable[[], bool]], bool]

MIB = 1 << 20


def answer_at_the_end(request: socket.socket) -> None:
    said = bytearray()
    while piece := request.recv(1 << 16):
        said += piece
    request.sendall(said[::-1])


def reset_at_once(request: socket.socket) -> None:
    request.recv(1)
    request.sendall(b"last words")
    request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("size", [9, 3 * MIB])
@pytest.mark.parametrize("fault", ["none", "latency", "slicer", "slow close"])
def test_a_client_that_has_said_all_still_hears_the_answer(
    proxy_host: ProxyHost, serve: Serve, connect: Connect, size: int, fault: str
) -> None:
    content = os.urandom(size)
    with serve(answer_at_the_end) as address, proxy_host.open(address) as proxy, ExitStack() as block:
        if fault == "latency":
            block.enter_context(proxy.latency(0.01))
        elif fault == "slicer":
            block.enter_context(proxy.slicer(size // 8 + 1))
        elif fault == "slow close":
            block.enter_context(proxy.slow_close(0.02))
        client = connect(proxy)
        client.say(content)
        client.end()
        assert client.read_all() == content[::-1]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(st.binary(min_size=1, max_size=5000), max_size=8))
def test_bytes_pass_both_ways_unchanged(echo_proxy: FaultProxy, connect: Connect, pieces: list[bytes]) -> None:
    with connect(echo_proxy) as client:
        for piece in pieces:
            assert client.echoes(piece)


def test_many_megabytes_pass_both_ways_at_once(echo_proxy: FaultProxy, connect: Connect) -> None:
    content, client = random.Random(1).randbytes(40 * MIB), connect(echo_proxy)
    sender = threading.Thread(target=client.say, args=(content,))
    sender.start()
    assert client.read(len(content)) == content
    sender.join()
    assert [(one.bytes_up, one.bytes_down) for one in echo_proxy.connections()] == [(len(content),) * 2]


@pytest.mark.parametrize("fault", ["none", "latency", "bandwidth"])
def test_a_reader_that_stops_stops_its_writer_and_nobody_else(
    echo_proxy: FaultProxy, connect: Connect, fault: str
) -> None:
    lazy, other = connect(echo_proxy), connect(echo_proxy)
    with ExitStack() as block:
        if fault == "latency":
            block.enter_context(echo_proxy.latency(0.001))
        elif fault == "bandwidth":
            block.enter_context(echo_proxy.bandwidth(100 * MIB))
        lazy.socket.setblocking(False)
        sent, quiet_since, block_of_bytes = 0, time.monotonic(), bytes(MIB)
        while time.monotonic() - quiet_since < 0.3 and sent < 512 * MIB:
            with suppress(BlockingIOError):
                sent += lazy.socket.send(block_of_bytes)
                quiet_since = time.monotonic()
        assert 0 < sent < 100 * MIB
        assert other.echoes()
    assert resident_kb(echo_proxy.host.pid) < 60 * 1024


def resident_kb(pid: int) -> int:
    with Path(f"/proc/{pid}/status").open(encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_a_server_that_resets_is_a_reset_for_its_client_behind_its_last_words(
    proxy_host: ProxyHost, serve: Serve, connect: Connect
) -> None:
    with serve(reset_at_once) as address, proxy_host.open(address) as proxy:
        client = connect(proxy)
        client.say(b"x")
        assert client.fate() == "reset"


def test_a_client_that_resets_is_a_reset_for_its_server(
    proxy_host: ProxyHost, serve: Serve, connect: Connect, eventually: Eventually
) -> None:
    ends: list[str] = []

    def listen(request: socket.socket) -> None:
        request.sendall(b"x")
        try:
            ends.append("end" if request.recv(1) == b"" else "bytes")
        except ConnectionResetError:
            ends.append("reset")

    with serve(listen) as address, proxy_host.open(address) as proxy:
        client = connect(proxy)
        assert client.read(1) == b"x"
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()
        assert eventually(lambda: bool(ends))
        assert ends == ["reset"]


@contextmanager
def closed_port() -> Iterator[tuple[str, int]]:
    """A port that is ours, and at which nobody listens."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


def refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=10).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it came through in the moment before the proxy knew
        return False
    return False


def test_what_the_server_refuses_is_refused_and_served_again_when_it_is_back(
    proxy_host: ProxyHost, eventually: Eventually
) -> None:
    with closed_port() as address, proxy_host.open(address) as proxy:
        assert refused(proxy.address)
        for _ in range(3):
            with socket.create_server(address):
                assert eventually(lambda: not refused(proxy.address))
            assert eventually(lambda: refused(proxy.address))


def test_a_connection_that_slips_through_to_a_dead_server_is_reset_and_closes_the_port(
    proxy_host: ProxyHost, connect: Connect
) -> None:
    with closed_port() as address:
        server = socket.create_server(address)
        with proxy_host.open(address) as proxy:
            proxy.sync()
            server.close()
            with suppress(ConnectionRefusedError):  # it was seen in time
                assert connect(proxy).fate() == "reset"
                assert refused(proxy.address)


def test_the_question_whether_it_listens_is_no_connection_to_the_server(proxy_host: ProxyHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, proxy_host.open(server.getsockname()):
        server.settimeout(0.3)
        with pytest.raises(TimeoutError):
            server.accept()


@pytest.mark.parametrize("listen", ["::1", "::", "0.0.0.0"])
def test_servers_at_other_addresses_of_loopback_are_seen_to_listen(listen: str, connect: Connect) -> None:
    family = socket.AF_INET6 if ":" in listen else socket.AF_INET
    try:
        server = socket.create_server((listen, 0), family=family, dualstack_ipv6=listen == "::")
    except OSError:
        pytest.skip("no IPv6 here")
    host = "::1" if listen == "::1" else "127.0.0.1"
    with server, FaultProxy((host, server.getsockname()[1])) as proxy:
        connect(proxy).say(b"x")
        accepted, _ = server.accept()
        with accepted:
            assert accepted.recv(1) == b"x"


@pytest.mark.parametrize("host", ["192.0.2.1", "8.8.8.8", "0.0.0.0"])
def test_what_is_not_on_loopback_is_refused(proxy_host: ProxyHost, host: str) -> None:
    with pytest.raises(FaultError):
        proxy_host.open((host, 80))


def random_fault(proxy: FaultProxy, dice: random.Random) -> Armed:
    kind = dice.randrange(4)
    way: Directions = dice.choice(("both", "up", "down"))
    if kind == 0:
        return proxy.latency(dice.uniform(0, 0.03), direction=way)
    if kind == 1:
        return proxy.bandwidth(dice.uniform(5, 200) * MIB, direction=way)
    if kind == 2:
        return proxy.slicer(dice.randrange(1000, 100_000), 500, dice.choice((0, 1e-4)), direction=way)
    delay_s = dice.uniform(0, 0.01)
    return proxy.latency(delay_s, delay_s, direction=way, share=dice.random())


@pytest.mark.parametrize("seed", range(8))
def test_no_byte_is_lost_doubled_or_moved_while_faults_come_and_go(
    echo_proxy: FaultProxy, connect: Connect, seed: int
) -> None:
    dice, content, client = random.Random(seed), random.Random(seed).randbytes(24 * MIB), connect(echo_proxy)

    def send() -> None:
        at, sizes = 0, random.Random(-seed)
        while at < len(content):
            size = sizes.choice((1, 100, 4000, MIB, 3 * MIB))
            client.say(content[at : at + size])
            at += size
        client.end()

    heard = bytearray()
    sender = threading.Thread(target=send)
    receiver = threading.Thread(target=lambda: heard.extend(client.read_all()))
    sender.start()
    receiver.start()
    armed: list[Armed] = []
    while receiver.is_alive():
        if armed and dice.random() < 0.4:
            armed.pop(dice.randrange(len(armed))).disarm()
        elif len(armed) < 4:
            armed.append(random_fault(echo_proxy, dice))
        receiver.join(dice.uniform(0, 0.01))
        if dice.random() < 0.02:
            while armed:
                armed.pop().disarm()
    sender.join()
    assert heard == content
