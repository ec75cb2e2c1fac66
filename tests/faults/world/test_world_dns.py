"""Names that cannot be resolved: the C library's own errors, in processes that are led to a server that fails."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from premortem.errors import FaultError
from premortem.faults import dns, needs
from premortem.faults.dns import NameServer

Told = Callable[[], list[tuple[str, str]]]
NAME = "db.premortem.test"
IN_PROCESS = [("struck", "name resolution"), ("lifted", "name resolution")]


def resolve(name: str = NAME) -> str:
    found = socket.getaddrinfo(name, 80, socket.AF_INET, socket.SOCK_STREAM)
    return str(found[0][4][0])


@pytest.fixture
def server() -> Iterator[NameServer]:
    if reason := needs.why_not("dns"):
        pytest.skip(reason)
    with NameServer({NAME: "127.0.0.9"}) as server:
        yield server


def test_a_healthy_server_knows_its_hosts_alone(told: Told, server: NameServer) -> None:
    assert server.run(resolve) == "127.0.0.9"
    with pytest.raises(socket.gaierror) as caught:
        server.run(resolve, "other.premortem.test")
    assert caught.value.errno == socket.EAI_NONAME
    assert server.asked[0] == NAME
    assert told() == []


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("NXDOMAIN", socket.EAI_NONAME),
        ("SERVFAIL", socket.EAI_AGAIN),
        ("REFUSED", socket.EAI_AGAIN),
        ("TIMEOUT", socket.EAI_AGAIN),
        ("TRUNCATED", socket.EAI_AGAIN),
    ],
)
def test_the_errors_are_the_librarys_own(told: Told, server: NameServer, kind: str, error: int) -> None:
    with server.failing(kind):
        with pytest.raises(socket.gaierror) as caught:
            server.run(resolve)
        assert caught.value.errno == error
    assert server.run(resolve) == "127.0.0.9"
    assert told() == [("struck", "name server"), ("lifted", "name server")]


def test_one_name_fails_and_another_does_not(server: NameServer) -> None:
    with server.failing("SERVFAIL", "another.premortem.test"):
        assert server.run(resolve) == "127.0.0.9"
        with pytest.raises(socket.gaierror):
            server.run(resolve, "another.premortem.test")


def test_a_late_answer_is_right_and_a_wrong_one_is_not(server: NameServer) -> None:
    with server.slow(0.05):
        assert server.run(resolve) == "127.0.0.9"
    with server.wrong("127.0.0.3"):
        assert server.run(resolve) == "127.0.0.3"


def test_a_command_is_struck_and_the_rest_of_the_machine_is_not(server: NameServer) -> None:
    before = Path("/etc/resolv.conf").read_bytes()
    with server.failing("NXDOMAIN"):
        assert server.run(["getent", "hosts", NAME]).status == 2
        assert Path("/etc/resolv.conf").read_bytes() == before
        assert resolve("localhost") == "127.0.0.1"
    assert server.run(["getent", "hosts", NAME]).output.split()[0] == "127.0.0.9"


def test_several_servers_fail_apart(server: NameServer) -> None:
    with NameServer({NAME: "127.0.0.8"}) as other, server.failing("SERVFAIL"):
        assert other.run(resolve) == "127.0.0.8"


def test_it_can_be_closed_again_and_leaves_nothing(server: NameServer) -> None:
    open_before = set(os.listdir("/dev/fd"))  # noqa: PTH208 - numbers
    other = NameServer({})
    other.close()
    other.close()
    assert set(os.listdir("/dev/fd")) == open_before  # noqa: PTH208 - as above
    assert server.run(resolve)


def test_a_host_elsewhere_is_refused() -> None:
    with pytest.raises(FaultError, match="no address of loopback"):
        NameServer({"db": "10.0.0.1"})


@pytest.mark.parametrize(("kind", "error"), [("NXDOMAIN", socket.EAI_NONAME), ("SERVFAIL", socket.EAI_AGAIN)])
def test_in_process_the_same_errors(kind: str, error: int, told: Told) -> None:
    with dns.failing(kind):
        for ask in (resolve, socket.gethostbyname, socket.gethostbyname_ex):
            with pytest.raises(socket.gaierror) as caught:
                ask("localhost")
            assert caught.value.errno == error
    assert resolve("localhost") == "127.0.0.1"
    assert told() == IN_PROCESS


def test_in_process_numbers_ask_nobody(told: Told) -> None:
    with dns.failing():
        assert resolve("127.0.0.1") == "127.0.0.1"
        assert socket.getaddrinfo(None, 80, type=socket.SOCK_STREAM)
        assert socket.getaddrinfo(b"::1", 80, type=socket.SOCK_STREAM)
    assert told() == [("lifted", "name resolution")]


def test_in_process_asyncio_and_threads_are_struck(told: Told) -> None:
    async def connect() -> None:
        await asyncio.open_connection("localhost", 1)

    failed: list[BaseException] = []

    def ask() -> None:
        try:
            resolve("localhost")
        except socket.gaierror as error:
            failed.append(error)

    with dns.failing("SERVFAIL", "localhost"):
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
        with pytest.raises(socket.gaierror):
            asyncio.run(connect())
    assert len(failed) == 1
    assert told() == IN_PROCESS


def test_in_process_late_and_wrong_answers(told: Told) -> None:
    with dns.slow(0.001, "LOCALHOST."):
        assert resolve("localhost") == "127.0.0.1"
    with dns.wrong("127.0.0.7"), dns.failing("NXDOMAIN", "gone.test"):
        assert resolve("somewhere.test") == "127.0.0.7"
        with pytest.raises(socket.gaierror):
            resolve("gone.test")
    assert told().count(("struck", "name resolution")) == 3


def test_in_process_functions_come_back_whatever_happens() -> None:
    before = [getattr(socket, name) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex")]
    with pytest.raises(KeyError), dns.failing():
        raise KeyError
    assert before == [getattr(socket, name) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex")]
    for wrong in (dns.failing("MAYBE"), dns.slow(0), dns.wrong("8.8.8.8")):
        with pytest.raises(FaultError), wrong:
            pass
    assert before == [getattr(socket, name) for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex")]
