"""Each decision on a real program: what the program sees, and what is on the disk afterwards."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.errors import FaultError
from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.syscalls import GO, Decision, Drop, Ended, Fail, Kill, Operation, Pause, Sever, Short

Decide = Callable[[Operation], Decision]
say = print  # how a program under test tells what it saw


def at(call: str, nth: int, decision: Decision) -> Decide:
    return lambda operation: decision if (operation.call, operation.nth) == (call, nth) else GO


def ok(ended: Ended) -> Ended:
    assert (ended.status, ended.timed_out) == (0, False), ended
    return ended


def test_a_failing_fsync_is_an_oserror_in_the_program(tmp_path: Path, heard: list[Event]) -> None:
    def program() -> None:
        with Path("data").open("wb") as file:
            file.write(b"x")
            file.flush()
            try:
                os.fsync(file.fileno())
            except OSError as error:
                say(errno.errorcode[error.errno or 0])

    ended = ok(syscalls.run(program, at("fsync", 1, Fail(errno.EIO)), folder=tmp_path))
    assert ended.output == "EIO\n"
    assert [(str(one.operation), one.decision) for one in ended.struck] == [("fsync#1 data", Fail(errno.EIO))]
    assert [event.name for event in heard] == ["fault.struck"]


def test_a_clean_run_strikes_nothing(tmp_path: Path, heard: list[Event]) -> None:
    ended = ok(syscalls.run(lambda: Path("data").write_bytes(b"x"), folder=tmp_path))
    assert [str(one) for one in ended.operations] == ["open#1 data", "write#1 data 1 bytes"]
    assert not ended.struck
    assert not heard


def test_a_short_write_tells_half_and_python_writes_the_rest(tmp_path: Path) -> None:
    def program() -> None:
        descriptor = os.open("raw", os.O_WRONLY | os.O_CREAT)
        say(os.write(descriptor, b"abcdefgh"))
        with Path("buffered").open("wb") as file:
            file.write(b"12345678")

    ended = ok(
        syscalls.run(program, lambda one: Short() if one.call == "write" and one.size == 8 else GO, folder=tmp_path)
    )
    assert ended.output == "4\n"
    assert (tmp_path / "raw").read_bytes() == b"abcd"
    assert (tmp_path / "buffered").read_bytes() == b"12345678"
    assert [one.size for one in ended.operations if one.call == "write"] == [8, 8, 4]


def test_short_for_every_way_to_write(tmp_path: Path) -> None:
    def program() -> None:
        descriptor = os.open("raw", os.O_RDWR | os.O_CREAT)
        say(
            os.writev(descriptor, [b"abc", b"defgh"]),
            os.pwrite(descriptor, b"XY", 6),
            os.pwritev(descriptor, [b"12", b"34"], 2),
        )

    ended = ok(syscalls.run(program, lambda one: Short() if one.call != "open" else GO, folder=tmp_path))
    assert ended.output == "4 1 2\n"
    assert (tmp_path / "raw").read_bytes() == b"ab12\0\0X"


def test_a_short_read_fills_half_of_the_buffer(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"abcdefgh")

    def program() -> None:
        descriptor = os.open("data", os.O_RDONLY)
        say(os.read(descriptor, 8), os.read(descriptor, 8), os.pread(descriptor, 4, 1))

    decide: Decide = lambda one: Short() if (one.call, one.nth) in {("read", 1), ("pread", 1)} else GO  # noqa: E731 - one line
    assert ok(syscalls.run(program, decide, watch=["read"], folder=tmp_path)).output == "b'abcd' b'efgh' b'bc'\n"


def test_a_dropped_write_leaves_a_hole_where_the_program_believes_its_bytes(tmp_path: Path) -> None:
    def program() -> None:
        descriptor = os.open("data", os.O_WRONLY | os.O_CREAT)
        say(os.write(descriptor, b"one"), os.write(descriptor, b"two"), os.write(descriptor, b"three"))

    assert ok(syscalls.run(program, at("write", 2, Drop()), folder=tmp_path)).output == "3 3 5\n"
    assert (tmp_path / "data").read_bytes() == b"one\0\0\0three"


@pytest.mark.parametrize("call", ["rename", "unlink", "mkdir", "ftruncate"])
def test_what_is_dropped_is_reported_done_and_is_not(call: str, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"12345678")

    def program() -> None:
        os.truncate("data", 7)
        with Path("data").open("r+b") as file:
            file.truncate(2)
        Path("new").mkdir()
        Path("data").rename("other")
        Path("data" if call == "rename" else "other").unlink()

    ok(syscalls.run(program, at(call, 1, Drop()), folder=tmp_path))
    left = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    expected = {"rename": {"new"}, "unlink": {"new", "other"}, "mkdir": set(), "ftruncate": {"new"}}
    assert set(left) == expected[call]


def test_killed_at_exactly_that_call_with_all_before_it_on_the_disk(tmp_path: Path) -> None:
    def program() -> None:
        descriptor = os.open("data", os.O_WRONLY | os.O_CREAT)
        for digit in b"12345":
            os.write(descriptor, bytes([digit]))

    for nth in range(1, 6):
        (tmp_path / "data").unlink(missing_ok=True)
        ended = syscalls.run(program, at("write", nth, Kill()), folder=tmp_path)
        assert ended.status == -signal.SIGKILL
        assert not ended.timed_out
        assert (tmp_path / "data").read_bytes() == b"12345"[: nth - 1]
        assert str(ended.operations[-1]) == f"write#{nth} data 1 bytes"


def test_a_killed_child_is_seen_by_its_parent_unless_the_family_is_killed(tmp_path: Path) -> None:
    def program() -> None:
        child = os.fork()
        if not child:
            Path("child").write_bytes(b"x")
            os._exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    assert ok(syscalls.run(program, at("write", 1, Kill()), folder=tmp_path)).output == "-9\n"
    ended = syscalls.run(program, at("write", 1, Kill(family=True)), folder=tmp_path)
    assert (ended.status, ended.output) == (-signal.SIGKILL, "")


def test_a_pause_delays_that_call_alone(tmp_path: Path) -> None:
    program = """
import threading, time, os
def write(name): open(name, "w").write("x")
began = time.monotonic()
one = threading.Thread(target=write, args=["slow"]); one.start()
while not os.path.exists("slow"): pass
write("quick"); print("quick", time.monotonic() - began < 1.5)
one.join(); print("slow", time.monotonic() - began >= 2)
"""
    decide: Decide = lambda one: Pause(2) if (one.call, one.target) == ("write", "slow") else GO  # noqa: E731 - one line
    assert (
        ok(syscalls.run([sys.executable, "-c", program], decide, folder=tmp_path)).output == "quick True\nslow True\n"
    )


def test_from_the_nth_on(tmp_path: Path) -> None:
    def program() -> None:
        descriptor = os.open("data", os.O_WRONLY | os.O_CREAT)
        for _ in range(4):
            try:
                say(os.write(descriptor, b"x"), end=" ")
            except OSError as error:
                say(errno.errorcode[error.errno or 0], end=" ")

    decide: Decide = lambda one: Fail(errno.ENOSPC) if one.call == "write" and one.nth >= 3 else GO  # noqa: E731 - one line
    assert ok(syscalls.run(program, decide, folder=tmp_path)).output == "1 1 ENOSPC ENOSPC "


def test_a_short_read_is_half_of_what_there_is_to_read(tmp_path: Path) -> None:
    """A program that takes one `recv` for a whole answer has a buffer that is larger than that."""

    def program() -> None:
        Path("data").write_bytes(b"abcdef")
        data = os.open("data", os.O_RDWR)
        say(os.read(data, 4096), os.read(data, 4096), os.pread(data, 4096, 2), os.pread(data, 4096, 5))
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            other, _ = server.accept()
            other.sendall(b"answer")
            select.select([client], [], [])
            say(client.recv(4096, socket.MSG_PEEK), client.recv(4096), client.recv(4096), client.recv(4096))
            say(client.recv(4096))
            other.close()
            say(client.recv(4096))

    def decide(one: Operation) -> Decision:
        ours = one.target == "data" or (one.kind == "socket" and one.target.startswith("127.0.0.1:"))
        return Short() if ours and one.call in {"read", "pread", "recvfrom"} else GO

    ended = ok(syscalls.run(program, decide, watch=("file", "socket", "read"), folder=tmp_path))
    assert ended.output == "b'abc' b'd' b'cd' b'f'\nb'ans' b'ans' b'w' b'e'\nb'r'\nb''\n"
    assert [one.operation.call for one in ended.struck] == [
        "read",
        "read",
        "pread",
        *["recvfrom"] * 4,
    ]


def test_a_severed_connection_gets_its_errors_from_the_kernel(tmp_path: Path) -> None:
    def program() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            other, _ = server.accept()
            client.sendall(b"1")
            try:
                client.sendall(b"2")
            except OSError as error:
                say(errno.errorcode[error.errno or 0])
            say(client.recv(9), other.recv(9), other.recv(9))

    ended = ok(syscalls.run(program, at("sendto", 2, Sever()), folder=tmp_path))
    assert ended.output == "EPIPE\nb'' b'1' b''\n"
    ended = ok(syscalls.run(program, at("sendto", 2, Sever(errno.ETIMEDOUT)), folder=tmp_path))
    assert ended.output == "ETIMEDOUT\nb'' b'1' b''\n"


@pytest.mark.parametrize("decision", [Sever(), Sever(errno.ECONNRESET)])
def test_an_answer_that_has_arrived_is_lost_with_its_connection(decision: Sever, tmp_path: Path) -> None:
    """The kernel hands out what it holds even after a shutdown: then nothing would have been cut."""

    def program() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
            other, _ = server.accept()
            other.sendall(b"done" * 50_000)
            select.select([client], [], [])
            try:
                say(client.recv(9))
            except ConnectionResetError:
                say("reset")
            say(client.recv(9))

    ended = ok(syscalls.run(program, at("recvfrom", 1, decision), folder=tmp_path))
    assert ended.output == ("reset\n" if decision.errno else "b''\n") + "b''\n"


def test_a_connect_is_refused_and_the_next_one_is_not(tmp_path: Path) -> None:
    def program() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            try:
                socket.create_connection(server.getsockname())
            except ConnectionRefusedError:
                say("refused", end=" ")
            socket.create_connection(server.getsockname()).close()
            say(server.accept()[0].recv(9))

    ended = ok(syscalls.run(program, at("connect", 1, Fail(errno.ECONNREFUSED)), folder=tmp_path))
    assert ended.output == "refused b''\n"


@pytest.mark.parametrize(("call", "decision"), [("fsync", Short()), ("open", Drop()), ("fsync", Sever())])
def test_what_cannot_happen_is_refused_and_the_family_is_gone(call: str, decision: Decision, tmp_path: Path) -> None:
    def program() -> None:
        with Path("data").open("wb") as file:
            os.fsync(file.fileno())

    with pytest.raises(FaultError, match=f"cannot happen to {call}#1"):
        syscalls.run(program, at(call, 1, decision), folder=tmp_path)


def test_the_same_number_hits_the_same_call_each_time(tmp_path: Path) -> None:
    program = "import sqlite3; db = sqlite3.connect('a.db'); db.execute('create table t (x)'); db.commit()"
    hits = set()
    for _ in range(6):
        (tmp_path / "a.db").unlink(missing_ok=True)
        (tmp_path / "a.db-journal").unlink(missing_ok=True)
        decide = lambda one: Kill() if one.index == 9 else GO  # noqa: E731 - one line
        ended = syscalls.run([sys.executable, "-c", program], decide, folder=tmp_path)
        hits.add((ended.status, str(ended.operations[-1])))
    assert len(hits) == 1
    assert hits.pop()[0] == -signal.SIGKILL
