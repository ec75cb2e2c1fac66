"""Soft limits: met, told, raised again, and only on processes of ours."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import limits
from premortem.faults.limits import cgroups
from premortem.faults.limits.limited import Limited, run

Told = Callable[[], list[tuple[str, str]]]
MIB = 1 << 20

linux = pytest.mark.skipif(sys.platform != "linux", reason="prlimit and /proc are Linux's")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


@settings(max_examples=20)
@given(st.integers(0, 20))
def test_so_many_descriptors_are_left_and_no_more(spare: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    try:
        with limits.descriptors(spare):
            with pytest.raises(OSError, match="Too many open files"):
                taken.extend(os.dup(0) for _ in range(spare + 1))
            assert len(taken) == spare or not taken  # extend keeps what came before the error
    finally:
        for descriptor in taken:
            os.close(descriptor)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_gaps_between_descriptors_count() -> None:
    held = [os.dup(0) for _ in range(10)]
    for descriptor in held[2:7]:
        os.close(descriptor)
    try:
        with limits.descriptors(5):
            fills = [os.dup(0) for _ in range(5)]
            with pytest.raises(OSError, match="Too many open files"):
                os.dup(0)
    finally:
        for descriptor in {*held[:2], *held[7:], *fills}:
            os.close(descriptor)


def test_the_hard_limit_is_never_touched(told: Told) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with limits.descriptors(3):
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    assert told() == [("struck", "descriptors limited"), ("lifted", "descriptors limited")]


@linux
def test_memory_ends_in_a_memory_error_and_comes_back() -> None:
    with limits.memory(20 * MIB), pytest.raises(MemoryError):
        bytearray(200 * MIB)
    assert len(bytearray(200 * MIB)) == 200 * MIB


@linux
def test_a_child_that_runs_is_limited_and_let_go(child: subprocess.Popen[bytes], told: Told) -> None:
    before = resource.prlimit(child.pid, resource.RLIMIT_FSIZE)
    with limits.file_size(100, child.pid):
        assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE) == (100, before[1])
    assert resource.prlimit(child.pid, resource.RLIMIT_FSIZE) == before
    assert told() == [("struck", "file size limited"), ("lifted", "file size limited")]


@linux
def test_a_child_may_end_meanwhile(child: subprocess.Popen[bytes]) -> None:
    with limits.descriptors(3, child.pid):
        child.kill()
        child.wait()


@linux
@pytest.mark.parametrize("pid", [1, 2**22 + 1])
def test_a_process_that_we_did_not_start_is_left_alone(pid: int, told: Told) -> None:
    with pytest.raises(FaultError, match="none that we started"), limits.file_size(100, pid):
        pass
    assert told() == []


def test_a_limit_that_limits_nothing_is_refused(told: Told) -> None:
    for useless in (Limited(), Limited(descriptors=10**9), Limited(file_bytes=-1)):
        with pytest.raises(FaultError):
            run(os.getpid, limited=useless)
    with pytest.raises(FaultError, match="0 or more"), limits.descriptors(-1):
        pass
    assert told() == []


def test_a_file_is_cut_short_and_then_refused(tmp_path: Path) -> None:
    def writes() -> tuple[int, str]:
        with (tmp_path / "file").open("wb", buffering=0) as file:
            first = file.write(b"x" * 900)
            try:
                file.write(b"x")
            except OSError as error:
                return first or 0, f"{error}"
        return 0, ""

    first, error = run(writes, limited=Limited(file_bytes=100))
    assert (first, error) == (100, "[Errno 27] File too large")
    assert (tmp_path / "file").stat().st_size == 100


def test_a_command_has_little() -> None:
    files = run(
        [sys.executable, "-c", "[open('/dev/null') for _ in range(99)]"], limited=Limited(descriptors=20), time_s=60
    )
    assert "Too many open files" in files.output
    memory = run([sys.executable, "-c", "bytearray(1 << 30)"], limited=Limited(memory_bytes=200 * MIB), time_s=60)
    assert (memory.status, "MemoryError" in memory.output) == (1, True)


@linux
def test_a_fork_has_a_little_more_than_we() -> None:
    def wants() -> int:
        return len(bytearray(300 * MIB))

    with pytest.raises(MemoryError):
        run(wants, limited=Limited(memory_bytes=limits.mapped_bytes() + 100 * MIB))


def test_threads_run_out(told: Told) -> None:
    if reason := limits.why_not_threads():
        with pytest.raises(MissingRequirementError, match=reason), limits.threads():
            pass
        pytest.skip(reason)
    with limits.threads(), pytest.raises(RuntimeError, match="can't start new thread"):
        threading.Thread(target=print).start()
    assert told() == [("struck", "threads limited"), ("lifted", "threads limited")]


def test_the_kernel_kills_for_memory(told: Told) -> None:
    if reason := cgroups.why_not_memory():
        pytest.skip(reason)
    before = len(told())
    with cgroups.Cgroup(memory_bytes=50 * MIB) as group:
        assert group.run([sys.executable, "-c", "print(1)"]).output == "1\n"
        assert len(told()) == before
        assert group.run([sys.executable, "-c", "bytearray(200 << 20)"]).cause == "killed by SIGKILL"
        assert told()[-1] == ("struck", "out of memory")


def test_the_threads_of_a_group_run_out(told: Told) -> None:
    if reason := cgroups.why_not_pids():
        pytest.skip(reason)
    never = threading.Event()

    def starts() -> None:
        for _ in range(5):
            threading.Thread(target=never.wait, daemon=True).start()

    with cgroups.Cgroup(processes=3) as group:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            group.run(starts)
        assert told()[-1] == ("struck", "threads limited")


def test_a_group_limits_one_thing() -> None:
    with pytest.raises(FaultError, match="limits one thing"):
        cgroups.Cgroup()
    with pytest.raises(FaultError, match="limits one thing"):
        cgroups.Cgroup(memory_bytes=1, processes=1)
