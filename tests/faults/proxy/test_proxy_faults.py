"""Every fault on real sockets, on connections that live and on new ones, and what is left when it is taken out."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest

from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.faults.proxy import FaultProxy, ProxyHost

Connect = Callable[[FaultProxy], Any]
Serve = Callable[[Callable[[socket.socket], None]], AbstractContextManager[tuple[str, int]]]
Eventually = Callable[[Callable[[], bool]], bool]

LONG_S = 20.0


def test_latency_is_never_early_on_either_kind_of_connection(echo_proxy: FaultProxy, connect: Connect) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    with echo_proxy.latency(0.02) as slow:
        for client in (live, connect(echo_proxy)):
            for _ in range(5):
                since = time.monotonic()
                assert client.echoes()
                assert time.monotonic() - since >= 0.04
    assert [strike.connection for strike in slow.strikes] == [1, 2]
    assert live.echoes()


def test_latency_of_one_direction_is_no_latency_of_the_other(
    proxy_host: ProxyHost, serve: Serve, connect: Connect
) -> None:
    with serve(lambda request: request.sendall(b"greeting")) as address, proxy_host.open(address) as proxy:
        with proxy.latency(30, direction="up") as up:
            assert connect(proxy).read(8) == b"greeting"
        assert not up.strikes or "the end" in up.strikes[0].what


def test_what_latency_holds_is_let_go_in_order_when_it_is_taken_out(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.latency(60):
        for number in range(100):
            client.say(b"%03d" % number)
        assert client.silent()
    assert client.read(300) == b"".join(b"%03d" % number for number in range(100))


def test_a_latency_that_is_shortened_lets_go_in_time(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.latency(60) as slow:
        client.say(b"held")
        assert client.silent()
        slow.change(delay_s=0.01)
        assert client.read(4) == b"held"
        with pytest.raises(ConfigurationError, match="delay_s=-1"):
            slow.change(delay_s=-1)


def test_bandwidth_takes_its_time(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.bandwidth(1_000_000, direction="up") as slow:
        since = time.monotonic()
        assert client.echoes(bytes(200_000))
        assert time.monotonic() - since >= 0.2
    assert slow.hit


def test_a_slow_close_is_late_alone_with_the_end(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.slow_close(0.1, direction="down") as slow:
        assert client.echoes()
        assert not slow.hit
        since = time.monotonic()
        client.end()
        assert client.fate() == "end"
        assert time.monotonic() - since >= 0.1
        assert slow.hit


def test_a_black_hole_swallows_and_resets_what_lost_bytes_when_it_is_lifted(
    echo_proxy: FaultProxy, connect: Connect, heard: list[Event]
) -> None:
    talking, idle = connect(echo_proxy), connect(echo_proxy)
    assert talking.echoes()
    assert idle.echoes()
    with echo_proxy.black_hole() as hole:
        new = connect(echo_proxy)
        for client in (talking, new):
            client.say(b"lost")
            client.say(b"lost, too")
            assert client.silent()
    assert talking.fate() == "reset"
    assert new.fate() == "reset"
    assert idle.echoes(b"after")
    assert connect(echo_proxy).echoes()
    assert [strike.connection for strike in hole.strikes] == [1, 3]
    assert [event.name for event in heard] == ["fault.armed", "fault.struck", "fault.struck", "fault.lifted"]
    assert heard[1].get("fault") == "black_hole"
    assert "bytes swallowed" in str(heard[1].get("what"))


def test_a_black_hole_in_which_nobody_speaks_has_hit_nothing(
    echo_proxy: FaultProxy, connect: Connect, heard: list[Event]
) -> None:
    client = connect(echo_proxy)
    assert client.echoes()
    with echo_proxy.black_hole() as hole:
        assert not hole.hit
    assert client.echoes()
    assert not hole.hit
    assert [event.name for event in heard] == ["fault.armed", "fault.lifted"]


def test_a_black_hole_swallows_what_was_under_way(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    client.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):  # nobody reads the echo: every buffer on the way is full
        client.say(bytes(256 << 20))
    client.socket.settimeout(LONG_S)
    with echo_proxy.black_hole(direction="down") as hole:
        assert hole.hit
    assert client.fate() == "reset"


def test_a_black_hole_that_closes_ends_in_order(echo_proxy: FaultProxy, connect: Connect) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    with echo_proxy.black_hole(close_after_s=0.05) as hole:
        since = time.monotonic()
        new = connect(echo_proxy)
        assert (live.fate(), new.fate()) == ("end", "end")
        assert time.monotonic() - since >= 0.04
        assert len(hole.strikes) == 2


def test_a_reset_is_one_on_live_connections_too_and_on_both_sides(
    proxy_host: ProxyHost, serve: Serve, connect: Connect, eventually: Eventually
) -> None:
    ends: list[str] = []

    def listen(request: socket.socket) -> None:
        try:
            request.sendall(b"x")
            ends.append("end" if request.recv(1) == b"" else "bytes")
        except ConnectionResetError:
            ends.append("reset")

    with serve(listen) as address, proxy_host.open(address) as proxy:
        live = connect(proxy)
        assert live.read(1) == b"x"
        with proxy.reset() as reset:
            assert live.fate() == "reset"
            assert connect(proxy).fate() == "reset"
        assert eventually(lambda: ends == ["reset"])
        assert [strike.connection for strike in reset.strikes] == [1, 2]
        late = connect(proxy)
        assert late.read(1) == b"x"
        with proxy.reset(direction="down"):
            assert late.fate() == "reset"
        assert eventually(lambda: ends == ["reset", "end"])


def test_a_reset_waits_for_its_time_and_is_called_off_with_its_fault(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.reset(after_s=60) as called_off:
        assert client.echoes()
    assert not called_off.hit
    since = time.monotonic()
    with echo_proxy.reset(after_s=0.05):
        assert client.echoes()
        assert client.fate() == "reset"
        assert time.monotonic() - since >= 0.05


def test_refuse_is_a_refusal_and_leaves_live_connections_alone(echo_proxy: FaultProxy, connect: Connect) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    with echo_proxy.refuse() as refuse:
        for _ in range(3):
            with pytest.raises(ConnectionRefusedError):
                connect(echo_proxy)
        assert live.echoes()
        assert refuse.strikes[-1].connection == 0
        assert "refused" in refuse.strikes[-1].what
    assert connect(echo_proxy).echoes()


def test_refusing_nobody_has_hit_nobody_where_that_can_be_seen(echo_proxy: FaultProxy) -> None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP).close()
    except PermissionError:
        pytest.skip("without CAP_NET_RAW nobody can tell whose attempt it was that failed")
    with echo_proxy.refuse() as refuse:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(closed.getsockname())
        assert not refuse.hit


def test_down_refuses_and_ends_live_connections_in_order(echo_proxy: FaultProxy, connect: Connect) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    with echo_proxy.down() as down:
        assert live.fate() == "end"
        with pytest.raises(ConnectionRefusedError):
            connect(echo_proxy)
        assert down.hit
    assert connect(echo_proxy).echoes()


def test_half_open_the_server_is_really_gone_and_the_client_is_not_told(
    proxy_host: ProxyHost, serve: Serve, connect: Connect
) -> None:
    gone = threading.Event()

    def listen(request: socket.socket) -> None:
        request.sendall(b"x")
        if request.recv(1) == b"":
            gone.set()

    with serve(listen) as address, proxy_host.open(address) as proxy:
        client = connect(proxy)
        assert client.read(1) == b"x"
        with proxy.half_open() as half:
            assert half.hit
            assert gone.wait(LONG_S)
            client.say(b"anybody?")
            assert client.silent()
            new = connect(proxy)
            assert new.silent()
        assert client.fate() == "reset"
        assert new.fate() == "reset"
        assert connect(proxy).read(1) == b"x"


def test_a_slicer_cuts_what_is_sent_at_once(proxy_host: ProxyHost, serve: Serve, connect: Connect) -> None:
    with serve(lambda request: request.sendall(bytes(1000))) as address, proxy_host.open(address) as proxy:
        with proxy.slicer(100, pause_s=0.005, direction="down") as slicer:
            client = connect(proxy)
            pieces = []
            while piece := client.socket.recv(1000):
                pieces.append(len(piece))
        assert sum(pieces) == 1000
        assert len(pieces) > 1
        assert slicer.hit


@pytest.mark.parametrize("size", [0, 1, 700])
def test_a_limit_lets_so_much_through_and_then_ends_in_order(
    proxy_host: ProxyHost, serve: Serve, connect: Connect, size: int
) -> None:
    with serve(lambda request: request.sendall(bytes(1000))) as address, proxy_host.open(address) as proxy:
        with proxy.limit(size, direction="down") as limit:
            assert connect(proxy).read_all() == bytes(size)
        assert limit.hit


def test_corrupt_changes_bits_and_loses_nothing(echo_proxy: FaultProxy, connect: Connect) -> None:
    client, data = connect(echo_proxy), bytes(1000)
    with echo_proxy.corrupt(100, direction="up") as corrupt:
        client.say(data)
        heard = client.read(1000)
    assert [index for index, value in enumerate(heard) if value] == list(range(99, 1000, 100))
    assert corrupt.strikes[0].what == "byte 99 changed"


def test_the_first_fail_and_the_rest_are_served(echo_proxy: FaultProxy, connect: Connect) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    with echo_proxy.fail_first(2) as first:
        assert [connect(echo_proxy).fate() for _ in range(2)] == ["reset", "reset"]
        assert connect(echo_proxy).echoes()
        assert live.echoes()
    assert [strike.connection for strike in first.strikes] == [2, 3]


def test_several_at_once_and_each_taken_out_alone(echo_proxy: FaultProxy, connect: Connect) -> None:
    client = connect(echo_proxy)
    with echo_proxy.latency(0.02, direction="up") as one, echo_proxy.corrupt(5, direction="up"):
        with echo_proxy.latency(0.03, direction="up"):
            since = time.monotonic()
            client.say(bytes(5))
            assert client.read(5) != bytes(5)
            assert time.monotonic() - since >= 0.05
        one.disarm()
        one.disarm()
        client.say(bytes(5))
        assert client.read(5) != bytes(5)
    assert client.echoes()


def struck(clients: list[Any], data: bytes = bytes(4)) -> list[bool]:
    found = []
    for client in clients:
        client.say(data)
        found.append(client.read(len(data)) != data)
    return found


def test_the_share_is_drawn_once_from_the_seed_and_never_again(
    proxy_host: ProxyHost, echo_address: tuple[str, int], connect: Connect
) -> None:
    patterns = []
    for seed in (42, 42, 7):
        with proxy_host.open(echo_address, seed=seed) as proxy:
            live = [connect(proxy) for _ in range(16)]
            with proxy.corrupt(4, direction="up", share=0.5) as half:
                clients = live + [connect(proxy) for _ in range(16)]
                first = struck(clients)
                with proxy.latency(0.001), proxy.slow_close(0.01, share=0.3):
                    assert struck(clients) == first
                assert struck(clients) == first
                hit = {strike.connection for strike in half.strikes}
                assert hit == {number for number, was in enumerate(first, 1) if was}
                half.change(share=0.0)
                assert not any(struck(clients))
                half.change(share=0.5)
                assert struck(clients) == first
            with proxy.corrupt(4, direction="up", share=0.25) as fewer:
                second = struck(clients)
                assert all(before for before, now in zip(first, second, strict=True) if now)
            assert fewer.hit
            patterns.append(first)
    assert patterns[0] == patterns[1] != patterns[2]
    assert any(patterns[0])
    assert not all(patterns[0])


@pytest.mark.parametrize("fault", ["reset", "refuse", "down", "black_hole", "half_open", "corrupt"])
def test_a_share_of_nothing_touches_nothing(echo_proxy: FaultProxy, connect: Connect, fault: str) -> None:
    live = connect(echo_proxy)
    assert live.echoes()
    arguments = (1,) if fault == "corrupt" else ()
    with getattr(echo_proxy, fault)(*arguments, share=0.0) as armed:
        assert live.echoes()
        assert connect(echo_proxy).echoes()
    assert not armed.hit


def test_a_strike_says_when_whom_and_how_to_repeat_it(
    echo_proxy: FaultProxy, connect: Connect, heard: list[Event]
) -> None:
    client = connect(echo_proxy)
    before = time.monotonic()
    with echo_proxy.latency(0.001) as slow:
        client.echoes()
    (strike,) = slow.strikes
    assert before <= strike.at_s <= time.monotonic()
    assert (strike.connection, strike.recipe) == (1, "latency(delay_s=0.001)")
    assert [event.name for event in heard] == ["fault.armed", "fault.struck", "fault.lifted"]
    assert f"port {echo_proxy.port}" in str(heard[1].get("what"))


def test_a_fault_is_undone_by_the_proxy_itself_when_its_time_is_up(
    echo_proxy: FaultProxy, connect: Connect, eventually: Eventually
) -> None:
    client = connect(echo_proxy)
    slow = echo_proxy.latency(60, ttl_s=0.1)
    client.say(b"held")
    assert client.read(4) == b"held"
    assert eventually(lambda: slow.expired)
    assert slow.hit
    slow.disarm()


def test_async_blocks_do_the_same(echo_address: tuple[str, int]) -> None:
    async def play() -> tuple[bytes, bool]:
        with FaultProxy(echo_address) as proxy:
            reader, writer = await asyncio.open_connection(*proxy.address)
            async with proxy.latency(0.02) as slow:
                writer.write(b"hello")
                heard = await reader.readexactly(5)
            writer.close()
            await writer.wait_closed()
            return heard, slow.hit

    assert asyncio.run(play()) == (b"hello", True)
