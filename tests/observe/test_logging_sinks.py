"""A full disk, a closed pipe, a reader that sleeps, killed writers: the work goes on, and every line parses."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.events import Event
from premortem.faults import needs
from premortem.faults.disk import SmallDisk
from premortem.faults.leases.lease_journal import FOLDER_VARIABLE
from premortem.faults.sweep.forks import every_crash
from premortem.observe.logging import FileSink, JsonLog, PipeSink, Repeats
from premortem.observe.logging.json_log import Counts

Read = Callable[[Path], list[dict[str, object]]]
Eventually = Callable[[Callable[[], bool]], None]
Told = list[tuple[str, dict[str, object]]]


@pytest.fixture(autouse=True)
def _leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))


def needed(name: str) -> None:
    if reason := needs.why_not(name):
        pytest.skip(f"{name}: {reason}")


def work(path: Path, lines: int) -> Counts:
    """So many lines of 300 bytes; what became of them."""
    log = JsonLog(FileSink(path), repeats=None)
    for number in range(lines):
        log.write("info", "chunk", {"number": number, "text": "x" * 200})
    return log.counts


def test_a_full_disk_stops_nothing_is_counted_and_told(read: Read, heard: list[Event]) -> None:
    needed("small_disk")
    with SmallDisk(1 << 16) as disk:
        seen, path = disk.seen / "a.log", disk.folder / "a.log"
        sink = FileSink(seen)  # through `seen`, so that one log lives through the whole story
        log = JsonLog(sink, repeats=None)
        log.write("info", "before")
        with disk.full(leave_bytes=4096):
            for number in range(100):
                log.write("info", "chunk", {"number": number, "text": "x" * 200})
            assert disk.run(work, path, 3).lost == 3
            read(seen)  # every line parses while it is full, too
        counts = log.counts
        assert counts.written + counts.lost == 101
        assert counts.lost > 50
        assert "No space left" in counts.why
        log.write("info", "after")
        recovered, after = read(seen)[-2:]
    assert (recovered["event"], recovered["lost"], after["event"]) == ("log.recovered", counts.lost, "after")
    told = [(event.name, event.get("lost")) for event in heard if event.name.startswith("log.")]
    assert told == [("log.lost", None), ("log.recovered", counts.lost)]


def test_a_disk_that_is_full_from_the_start_stops_nothing() -> None:
    needed("small_disk")
    with SmallDisk(1 << 16, inodes=8) as disk, disk.no_inodes():
        counts = disk.run(work, disk.folder / "logs" / "a.log", 10)
    assert (counts.written, counts.lost) == (0, 10)


def test_a_place_that_is_no_file_is_counted(tmp_path: Path) -> None:
    assert work(tmp_path, 3).lost == 3
    assert work(Path("/dev/full"), 3).lost == 3


def test_a_pipe_that_is_closed_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    reader, writer = os.pipe()
    log = JsonLog(PipeSink(writer), repeats=None)
    log.write("info", "heard")
    assert json.loads(os.read(reader, 4096))["event"] == "heard"
    os.close(reader)
    for _ in range(5):
        log.write("info", "unheard")
    assert log.counts.lost == 5
    assert "Broken pipe" in log.counts.why
    assert capfd.readouterr().err.count("takes no lines") == 1
    log.close()
    os.close(writer)


def test_a_descriptor_that_is_closed_stops_nothing() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    log = JsonLog(PipeSink(writer), repeats=None)
    log.write("info", "unheard")
    assert (log.counts.lost, os.strerror(errno.EBADF) in log.counts.why) == (1, True)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_reader_that_sleeps_is_waited_for_once_and_found_again(kind: str) -> None:
    if kind == "pipe":
        reader, writer = os.pipe()
    else:
        ends = socket.socketpair()
        reader, writer = (end.detach() for end in ends)
    log = JsonLog(PipeSink(writer, patience_s=0.05), repeats=None)
    for _ in range(5000):
        log.write("info", "x", {"text": "y" * 500})
    assert log.counts.lost > 1000
    os.set_blocking(reader, False)
    heard = drained(reader)
    log.write("info", "after")
    heard += drained(reader)
    lines = [json.loads(line) for line in heard.splitlines() if line]
    events = [line["event"] for line in lines]
    assert events[-2:] == ["log.recovered", "after"]
    assert lines[-2]["lost"] == log.counts.lost
    assert len(lines) == log.counts.written + 1
    log.close()
    os.close(reader)
    os.close(writer)


def drained(descriptor: int) -> bytes:
    found = b""
    while True:
        try:
            found += os.read(descriptor, 1 << 16)
        except BlockingIOError:
            return found


def test_a_pipe_s_line_is_no_longer_than_a_pipe_takes_whole() -> None:
    reader, writer = os.pipe()
    log = JsonLog(PipeSink(writer), repeats=None)
    log.write("info", "big", {f"k{number}": "x" * 3000 for number in range(40)})
    line = os.read(reader, 1 << 16)
    assert len(line) <= 4096
    assert json.loads(line)["cut_from_bytes"] > 100_000
    assert log.counts.shortened == 1


def test_a_line_is_gone_or_whole_at_every_crash_and_the_next_writer_mends(tmp_path: Path, read: Read) -> None:
    needed("syscalls")
    path = tmp_path / "a.log"
    work(path, 2)
    ends = set()
    for crash in every_crash(work, path, 3, folder=tmp_path, effects=("kill", "short", "ENOSPC")):
        work(path, 1)
        lines = read(path)
        chunks = sum(line["event"] == "chunk" for line in lines)
        lost = sum(int(str(line["lost"])) for line in lines if line["event"] == "log.recovered")
        assert 3 <= chunks <= 6, crash
        if crash.status == 0 and crash.outcome.name != "HUNG":
            ends.add((chunks, lost))
    assert (6, 0) in ends


def test_what_a_killed_writer_left_is_cut_and_a_strangers_line_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    sink = FileSink(path)
    log = JsonLog(sink, repeats=None)
    log.write("info", "one")
    with path.open("ab") as file:
        file.write(b'{"time":"2026-01-01T00:00:00.000000Z","level":"in')
    log.write("info", "two")
    with path.open("ab") as file:
        file.write(b"printed by somebody else")
    log.write("info", "three")
    lines = path.read_bytes().splitlines()
    assert lines[2] == b"printed by somebody else"
    assert [json.loads(lines[number])["event"] for number in (0, 1, 3)] == ["one", "two", "three"]
    assert sink.mended == 2


def write_on(path: Path, seed: int, go: Path) -> None:
    log = JsonLog(FileSink(path), repeats=None)
    chance = random.Random(seed)
    go.touch()
    for number in range(1 << 30):
        log.write("info", "x", {"number": number, "text": "y" * chance.choice([10, 200, 7000])})


def test_writers_that_are_killed_leave_whole_lines(tmp_path: Path, read: Read, eventually: Eventually) -> None:
    path, chance = tmp_path / "a.log", random.Random(7)
    context = multiprocessing.get_context("fork")
    for round_ in range(10):
        goes = [tmp_path / f"go-{round_}-{number}" for number in range(3)]
        writers = [context.Process(target=write_on, args=(path, round_, go)) for go in goes]
        for writer in writers:
            writer.start()
        eventually(lambda goes=goes: all(go.exists() for go in goes))  # type: ignore[misc]
        for writer in writers:
            time.sleep(chance.random() * 0.02)  # the moment of the kill, not a synchronisation
            assert writer.pid
            os.kill(writer.pid, signal.SIGKILL)
            writer.join()
    work(path, 1)
    assert len(read(path)) > 10


def count_up(path: Path, writer: int, lines: int, max_bytes: int) -> int:
    log = JsonLog(FileSink(path, max_bytes=max_bytes, keep=1000), repeats=None)
    for number in range(lines):
        log.write("info", "x", {"writer": writer, "number": number, "text": "y" * (number % 4000)})
    return log.counts.lost


def test_several_processes_and_a_rotation_lose_nothing_and_double_nothing(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.log"
    with multiprocessing.get_context("fork").Pool(4) as pool:
        lost = pool.starmap(count_up, [(path, writer, 500, 1 << 16) for writer in range(4)])
    assert lost == [0] * 4
    files = sorted(tmp_path.glob("a.log*"))
    assert len(files) > 5
    found = [(line["writer"], line["number"]) for file in files for line in read(file)]
    assert sorted(map(str, found)) == sorted(str((writer, number)) for writer in range(4) for number in range(500))


def test_a_rotated_log_keeps_so_many_files(tmp_path: Path) -> None:
    log = JsonLog(FileSink(tmp_path / "a.log", max_bytes=1 << 16, keep=2), repeats=None)
    for _ in range(2000):
        log.write("info", "x", {"text": "y" * 500})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.log", "a.log.1", "a.log.2"] or (
        sorted(path.name for path in tmp_path.iterdir()) == ["a.log.1", "a.log.2"]
    )


def test_a_log_that_was_moved_away_is_opened_anew(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.log"
    log = JsonLog(FileSink(path), repeats=None)
    log.write("info", "one")
    path.rename(tmp_path / "old.log")
    log.write("info", "two")
    path.unlink()
    log.write("info", "three")
    assert ([line["event"] for line in read(path)], log.counts.lost) == (["three"], 0)


def test_a_process_that_is_stopped_with_the_lock_stops_nobody(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.log"
    work(path, 1)
    hold = (
        f"import fcntl, sys, time; file = open({str(path)!r}); fcntl.flock(file, 2); "
        "print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        log = JsonLog(FileSink(path, lock_s=0.05), repeats=None)
        for _ in range(5):
            log.write("info", "meanwhile")
        holder.kill()
    assert (log.counts.lost, len(read(path))) == (0, 6)


def test_a_fork_in_the_middle_of_a_write_can_log(tmp_path: Path, read: Read) -> None:
    path = tmp_path / "a.log"
    log = JsonLog(FileSink(path), repeats=Repeats(first=1))
    log.write("info", "again")
    log.write("info", "again")
    inside, leave = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        inside.set()
        leave.wait(20)

    holder = threading.Thread(target=lambda: log._locked(hold, None))
    holder.start()
    inside.wait(20)

    def in_the_child() -> None:
        log.write("info", "child")
        log.flush()

    child = multiprocessing.get_context("fork").Process(target=in_the_child)
    child.start()
    child.join(20)
    leave.set()
    holder.join()
    log.flush()
    assert child.exitcode == 0
    assert [line["event"] for line in read(path)] == ["again", "child", "log.repeated"]


def test_a_signal_handler_may_log_in_the_middle_of_a_line(tmp_path: Path, read: Read) -> None:
    log = JsonLog(FileSink(tmp_path / "a.log"), repeats=None)
    before = signal.signal(signal.SIGALRM, lambda *_: log.write("info", "alarm"))
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        for number in range(2000):
            log.write("info", "line", {"number": number})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    found = read(tmp_path / "a.log")
    assert [line["number"] for line in found if line["event"] == "line"] == list(range(2000))
    assert len(found) == log.counts.written
    assert len(found) > 2000


def test_threads_share_a_log(tmp_path: Path, read: Read) -> None:
    log = JsonLog(FileSink(tmp_path / "a.log"), repeats=None)

    def many() -> None:
        for number in range(200):
            log.write("info", "x", {"n": number})

    threads = [threading.Thread(target=many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(read(tmp_path / "a.log")), log.counts.written) == (1600, 1600)


def test_a_sink_of_somebody_s_own_may_raise_what_it_likes() -> None:
    class Broken:
        name, line_bytes = "broken", 4096

        def write(self, line: bytes) -> None:  # noqa: ARG002 - as Sink
            raise ValueError("I/O operation on closed file")

        def close(self) -> None: ...

    log = JsonLog(Broken())
    log.write("info", "x")
    assert log.counts.lost == 1
