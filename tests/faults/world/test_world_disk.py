"""A small disk: truly full, for programs inside and for us, and seen by nobody else."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults import disk
from premortem.faults.disk import SmallDisk

NEEDS = ("small_disk",)

Told = Callable[[], list[tuple[str, str]]]
FULL = [("struck", "disk full"), ("lifted", "disk full")]


def test_a_full_disk_takes_no_more_until_the_block_ends(told: Told) -> None:
    with SmallDisk(1 << 16) as small:
        with small.full():
            with pytest.raises(OSError, match="No space left") as caught:
                (small.seen / "state").write_bytes(b"x")
            assert caught.value.errno == errno.ENOSPC
        (small.seen / "state").write_bytes(b"x")
        assert os.listdir(small.seen) == ["state"]  # noqa: PTH208 - the names alone
    assert told() == FULL


def test_a_program_inside_meets_the_same_disk(told: Told) -> None:
    def writes(size: int) -> int:
        return (small.folder / "inside").write_bytes(b"x" * size)

    with SmallDisk(1 << 16) as small:
        assert small.run(writes, 100) == 100
        assert (small.seen / "inside").read_bytes() == b"x" * 100
        assert told() == []
        with pytest.raises(OSError, match="No space left"):
            small.run(writes, 1 << 17)
        assert told() == [("struck", "disk full")]
        assert small.run(["sh", "-c", f"echo more > {small.folder}/more"]).status != 0


def test_who_runs_inside_is_who_it_was() -> None:
    with SmallDisk(1 << 16) as small:
        assert small.run(os.getuid) == os.getuid()
        assert small.run(os.getcwd) == os.getcwd()  # noqa: PTH109 - a plain function that can be called there


def test_sqlite_says_that_the_disk_is_full() -> None:
    def fills() -> None:
        with sqlite3.connect(small.folder / "base") as base:
            base.execute("CREATE TABLE t (v BLOB)")
            base.execute("INSERT INTO t VALUES (?)", (b"x" * (1 << 20),))

    with SmallDisk(1 << 18) as small, pytest.raises(sqlite3.OperationalError, match="database or disk is full"):
        small.run(fills)


def test_a_disk_without_inodes_has_room_and_takes_no_file(told: Told) -> None:
    with SmallDisk(1 << 16, inodes=16) as small:
        (small.seen / "old").touch()
        with small.no_inodes(leave=1):
            (small.seen / "new").touch()
            with pytest.raises(OSError, match="No space left"):
                (small.seen / "newer").touch()
            (small.seen / "old").write_bytes(b"there is room")
        (small.seen / "newer").touch()
    assert told() == [("struck", "no inodes"), ("lifted", "no inodes")]


def test_nobody_else_sees_it_and_nothing_is_left(told: Told) -> None:
    with SmallDisk(1 << 16) as small:
        small.run((small.folder / "secret").touch)
        assert not small.folder.exists()
        assert str(small.folder.parent) not in Path("/proc/mounts").read_text(encoding="utf-8")
    assert not small.folder.parent.exists()
    small.close()
    assert told() == []


def test_it_goes_with_its_owner() -> None:
    code = (
        "import os, signal\nfrom premortem.faults.disk import SmallDisk\n"
        "small = SmallDisk(1 << 16)\n(small.seen / 'x').touch()\n"
        "print(small.folder.parent, flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    owner = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    place = Path(owner.stdout.strip())
    assert place.is_relative_to(tempfile.gettempdir())
    assert not list(place.iterdir())
    place.rmdir()  # nothing is mounted on it


@settings(max_examples=15)
@given(st.integers(1, 64), st.integers(0, 64))
def test_what_is_left_is_what_can_be_written(pages: int, leave: int) -> None:
    page = os.sysconf("SC_PAGE_SIZE")
    with SmallDisk((pages + 1) * page) as small:
        if leave >= small.free_bytes // page:
            with pytest.raises(FaultError, match="nothing would be filled"), small.full(leave * page):
                pass
            return
        with small.full(leave * page):
            assert small.free_bytes == leave * page
            with (small.seen / "rest").open("wb", buffering=0) as file:
                assert leave == 0 or file.write(b"x" * (leave + 1) * page) == leave * page
                with pytest.raises(OSError, match="No space left"):
                    file.write(b"x")


@pytest.mark.parametrize("size", [0, -1, 100, 1 << 40])
def test_a_disk_of_no_or_of_any_size_is_refused(size: int) -> None:
    with pytest.raises(FaultError, match=f"size_bytes={size}"):
        SmallDisk(size)


def test_inodes_that_were_not_limited_cannot_run_out(told: Told) -> None:
    with pytest.raises(FaultError, match="2 or more"):
        SmallDisk(1 << 16, inodes=1)
    with SmallDisk(1 << 16) as small, pytest.raises(FaultError, match="inodes=16"), small.no_inodes():
        pass
    assert told() == []


def test_the_full_device_is_full() -> None:
    with disk.full_device().open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.write(b"x")
