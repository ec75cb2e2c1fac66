"""The control side never waits for the data side, and the process never outlives its owner."""

from __future__ import annotations

import gc
import multiprocessing
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.proxy import FaultProxy, ProxyHost, channel

Connect = Callable[[FaultProxy], Any]
Eventually = Callable[[Callable[[], bool]], bool]

PROMPT_S = 5.0  # a hang would be minutes; a busy machine is no hang


@contextmanager
def deaf_server() -> Iterator[tuple[str, int]]:
    """It listens, and its queue is full: whoever connects now waits for minutes."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        crowd = []
        for _ in range(3):
            one = socket.socket()
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(server.getsockname())
            crowd.append(one)
        try:
            yield server.getsockname()
        finally:
            for one in crowd:
                one.close()


def test_control_answers_while_a_connection_to_the_server_is_pending(
    proxy_host: ProxyHost, connect: Connect, eventually: Eventually
) -> None:
    with deaf_server() as address, proxy_host.open(address) as proxy:
        clients = [connect(proxy) for _ in range(5)]
        clients[0].say(b"x")
        since = time.monotonic()
        with proxy.latency(0.01), proxy.black_hole():
            assert eventually(lambda: len(proxy.connections()) == 5)
        assert clients[0].silent()
        with proxy.down():
            assert clients[0].fate() in ("end", "reset")  # a byte of its own was never read
            assert clients[1].fate() == "end"
        with proxy.reset():
            pass
        assert time.monotonic() - since < PROMPT_S


def test_control_answers_under_load(echo_proxy: FaultProxy, connect: Connect) -> None:
    over = threading.Event()

    def pump() -> None:
        client = connect(echo_proxy)
        while not over.is_set():
            assert client.echoes(bytes(200_000))

    pumps = [threading.Thread(target=pump) for _ in range(3)]
    for one in pumps:
        one.start()
    try:
        for _ in range(20):
            since = time.monotonic()
            with echo_proxy.latency(0.001):
                pass
            assert time.monotonic() - since < PROMPT_S
    finally:
        over.set()
        for one in pumps:
            one.join()


def test_one_process_serves_many_proxies(echo_address: tuple[str, int], connect: Connect) -> None:
    with ProxyHost() as host:
        proxies = [host.open(echo_address, name=f"number {number}") for number in range(3)]
        assert host.proxies() == tuple(proxies)
        with proxies[0].corrupt(1):
            assert [not connect(proxy).echoes() for proxy in proxies] == [True, False, False]
        proxies[1].close()
        proxies[1].close()
        assert host.proxies() == (proxies[0], proxies[2])
        with pytest.raises(ConnectionRefusedError):
            connect(proxies[1])


def test_a_port_can_be_asked_for_and_one_that_is_taken_is_refused(
    proxy_host: ProxyHost, echo_proxy: FaultProxy
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(FaultError, match="in use"):
        proxy_host.open(echo_proxy.upstream, port=taken.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with proxy_host.open(echo_proxy.upstream, port=port) as proxy:
        assert proxy.address == ("127.0.0.1", port)


def test_closed_it_leaves_no_process_no_port_and_no_connection(echo_address: tuple[str, int], connect: Connect) -> None:
    proxy = FaultProxy(echo_address)
    client = connect(proxy)
    assert client.echoes()
    pid, armed = proxy.host.pid, proxy.latency(0.001)
    proxy.close()
    proxy.close()
    armed.disarm()
    assert client.fate() in ("end", "reset")
    assert not alive(pid)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    with pytest.raises(FaultError, match="closed"):
        proxy.latency(1)


def alive(pid: int) -> bool:
    try:
        with Path(f"/proc/{pid}/stat").open(encoding="ascii") as stat:
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


OWNER = """
import sys, time
from premortem.faults.proxy import FaultProxy
proxy = FaultProxy(("127.0.0.1", int(sys.argv[1])))
armed = proxy.latency(60)
print(proxy.host.pid, proxy.port, flush=True)
if len(sys.argv) > 2:
    import subprocess
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    import os
    if os.fork() == 0:
        time.sleep(60)
time.sleep(60)
"""


@pytest.mark.parametrize("children", [(), ("with children",)])
def test_it_dies_with_an_owner_that_is_killed_whoever_the_owner_has_left(
    echo_address: tuple[str, int], eventually: Eventually, children: tuple[str, ...]
) -> None:
    command = [sys.executable, "-c", OWNER, str(echo_address[1]), *children]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as owner:
        try:
            assert owner.stdout is not None
            pid, port = map(int, owner.stdout.readline().split())
            with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
                client.sendall(b"held for a minute")
                owner.kill()
                with suppress(ConnectionResetError):
                    assert client.recv(1) == b""
            assert eventually(lambda: not alive(pid))
        finally:
            with suppress(ProcessLookupError):
                os.killpg(owner.pid, signal.SIGKILL)


def test_a_proxy_that_was_killed_is_an_error_and_no_hang(echo_address: tuple[str, int]) -> None:
    with FaultProxy(echo_address) as proxy:
        os.kill(proxy.host.pid, signal.SIGKILL)
        with pytest.raises(FaultError, match="gone"):
            proxy.latency(1)


def _ask(proxy: FaultProxy, answers: Connection) -> None:
    try:
        proxy.latency(1)
    except FaultError as error:
        answers.send(str(error))


def test_a_fork_of_the_owner_does_not_own_it(echo_address: tuple[str, int], connect: Connect) -> None:
    context = multiprocessing.get_context("fork")
    with FaultProxy(echo_address) as proxy:
        answers, theirs = context.Pipe()
        child = context.Process(target=_ask, args=(proxy, theirs))
        child.start()
        assert "closed" in answers.recv()
        child.join()
        assert connect(proxy).echoes()


def test_a_fork_amid_threads_that_ask_does_not_wait_for_them(echo_address: tuple[str, int]) -> None:
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            with proxy.latency(0.001):
                proxy.connections()

    with FaultProxy(echo_address) as proxy, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on: a fork while there are threads
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        ends = []
        for _ in range(50):
            child = os.fork()
            if not child:
                signal.alarm(10)  # it waits for a lock that nobody holds here
                try:
                    proxy.latency(0.1)
                except FaultError:
                    os._exit(0)
                finally:
                    os._exit(1)
            ends.append(os.waitpid(child, 0)[1])
        over.set()
        for thread in threads:
            thread.join()
    assert ends == [0] * 50


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """As many as this user may have: a desktop's soft limit is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_it_is_small_with_a_thousand_connections() -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.settimeout(20)
        proxy = stack.enter_context(FaultProxy(server.getsockname()))
        for _ in range(1000):
            client = stack.enter_context(socket.create_connection(proxy.address, timeout=20))
            other = stack.enter_context(server.accept()[0])
            client.sendall(b"hello")
            assert other.recv(5) == b"hello"
        with Path(f"/proc/{proxy.host.pid}/status").open(encoding="ascii") as status:
            resident_kb = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    assert resident_kb < 30 * 1024


def test_who_asks_for_what_is_closed_hears_so_and_the_others_live_on(
    proxy_host: ProxyHost, echo_address: tuple[str, int], connect: Connect
) -> None:
    with proxy_host.open(echo_address) as other:
        closed = proxy_host.open(echo_address)
        late = closed.latency(0.01)
        closed.close()
        for ask in (lambda: closed.latency(0.1), closed.connections, lambda: late.change(delay_s=0.2)):
            with pytest.raises(FaultError, match=f"the proxy at port {closed.port} was closed; open another one"):
                ask()
        with pytest.raises(FaultError, match=f"port {closed.port}: its proxy was closed"):
            proxy_host.ask("connections", port=closed.port)
        assert late.strikes == ()
        assert connect(other).echoes()


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_is_none_is_refused_and_the_others_live_on(
    port: int, echo_proxy: FaultProxy, proxy_host: ProxyHost, connect: Connect
) -> None:
    with pytest.raises(ConfigurationError, match=f"port={port}: has to be from 0"):
        proxy_host.open(echo_proxy.upstream, port=port)
    assert connect(echo_proxy).echoes()


def test_a_fault_that_is_out_is_not_changed(echo_proxy: FaultProxy, connect: Connect, eventually: Eventually) -> None:
    with echo_proxy.latency(0.01) as out:
        pass
    timed = echo_proxy.latency(0.01, ttl_s=0.01)
    assert eventually(lambda: timed.expired)
    for armed in (out, timed):
        with pytest.raises(FaultError, match="was taken out, or its time was up, and cannot be changed; arm it again"):
            armed.change(delay_s=0.02)
    assert connect(echo_proxy).echoes()


def test_nothing_of_a_fault_is_kept_once_it_is_out(proxy_host: ProxyHost, echo_address: tuple[str, int]) -> None:
    def kept(make: Callable[[FaultProxy], object]) -> bool:
        with proxy_host.open(echo_address) as proxy:
            gone = weakref.ref(make(proxy))
            gc.collect()
            alive = gone() is not None
        gc.collect()
        assert gone() is None  # at the latest with its proxy
        return alive

    def out(proxy: FaultProxy) -> object:
        armed = proxy.latency(0.01)
        armed.disarm()
        return armed

    assert not kept(out)
    assert kept(lambda proxy: proxy.latency(0.01))  # its strikes are still to be told


def test_a_proxy_that_is_stopped_is_an_error_and_then_gone(
    echo_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel, "ANSWER_S", 1.0)
    with FaultProxy(echo_address) as proxy:
        os.kill(proxy.host.pid, signal.SIGSTOP)
        with pytest.raises(FaultError, match=rf"process {proxy.host.pid}\) has not answered within 1 s; is it stopped"):
            proxy.latency(0.1)
        with pytest.raises(FaultError, match="the proxy's process has gone"):  # more than the channel holds
            proxy.host.ask("sync", filler="x" * 5_000_000)
    with pytest.raises(ProcessLookupError):
        os.kill(proxy.host.pid, 0)
