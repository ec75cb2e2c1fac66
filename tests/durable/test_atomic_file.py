"""Files that are replaced whole or not at all, under every crash, error and power failure."""

from __future__ import annotations

import multiprocessing
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.durable import AppendLog, AtomicFile, DamagedError, read_whole, write_atomically
from premortem.durable.framing import framed, unframed
from premortem.errors import ConfigurationError
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash, every_power_loss

swept = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")
OLD, NEW = b"old" * 2000, b"new" * 3000


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.write_bytes(OLD)
    return path


def test_what_was_written_is_read_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write_atomically(path, NEW)
    write_atomically(path, b"")
    assert read_whole(path) == b""
    assert entries(tmp_path) == ["state"]
    with pytest.raises(FileNotFoundError):
        read_whole(tmp_path / "another")
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "no folder" / "state", NEW)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_the_mode_stays(path: Path, mode: int) -> None:
    path.chmod(mode)
    write_atomically(path, NEW)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert read_whole(path) == NEW


def test_a_new_file_has_the_mode_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "state", NEW)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_stays(path: Path) -> None:
    os.chown(path, 12345, 54321)
    write_atomically(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)


def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "elsewhere" / "link"
    link.parent.mkdir()
    link.symlink_to("../state")
    write_atomically(link, NEW)
    assert link.is_symlink()
    assert read_whole(path) == NEW


def test_a_pipe_a_folder_and_a_device_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for odd in (tmp_path / "pipe", tmp_path, Path("/dev/null")):
        with pytest.raises(ConfigurationError, match="has to be a plain file"):
            write_atomically(odd, NEW)
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_draft_that_a_crash_has_left_is_removed(path: Path, tmp_path: Path) -> None:
    draft = tmp_path / ".state.draft"
    draft.write_bytes(b"half")
    draft.chmod(0o400)
    write_atomically(path, NEW)
    assert entries(tmp_path) == ["state"]
    draft.symlink_to("/etc/hostname")  # somebody lays a trap
    with pytest.raises(OSError, match="symbolic"):
        write_atomically(path, OLD)
    assert read_whole(path) == NEW


def test_a_draft_that_somebody_is_writing_is_waited_for_but_not_for_ever(path: Path, tmp_path: Path) -> None:
    import fcntl  # noqa: PLC0415 - not everywhere

    with (tmp_path / ".state.draft").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimeoutError, match="look for a process that hangs"):
            write_atomically(path, NEW, wait_s=0.05)
    assert read_whole(path) == OLD
    write_atomically(path, NEW)


@swept
def test_every_crash_leaves_the_old_or_the_new_and_the_next_write_cleans_up(path: Path) -> None:
    path.chmod(0o600)
    crashes = 0
    for crash in every_crash(
        write_atomically, path, NEW, folder=path.parent, effects=("kill", "EIO", "ENOSPC", "short")
    ):
        assert path.read_bytes() in (OLD, NEW), crash
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, crash
        assert set(entries(path.parent)) <= {"state", ".state.draft"}, crash
        if "=kill" not in str(crash.recipe):
            assert entries(path.parent) == ["state"], crash
        write_atomically(path, b"again")
        assert entries(path.parent) == ["state"], crash
        crashes += 1
    assert crashes > 10


@swept
def test_every_power_loss_leaves_the_old_or_the_new(path: Path) -> None:
    states = 0
    for state in every_power_loss(write_atomically, path, NEW, folder=path.parent):
        assert path.read_bytes() in (OLD, NEW), state.name
        states += 1
    assert states > 3


@swept
def test_once_it_returned_a_power_loss_leaves_the_new(path: Path, losses: Any) -> None:
    def write_and_say_so() -> None:
        write_atomically(path, NEW)
        (path.parent / "said-new").mkdir()

    promised = 0
    for loss in losses(write_and_say_so):
        assert path.read_bytes() in ((NEW,) if loss.said else (OLD, NEW)), loss
        promised += len(loss.said)
    assert promised


def _write_many(path: Path, letter: bytes, times: int) -> None:
    for _ in range(times):
        write_atomically(path, letter * 50_000)


def test_a_reader_never_sees_half_of_what_four_writers_write(path: Path) -> None:
    path.write_bytes(b"a" * 50_000)
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(path, letter, 25)) for letter in (b"a", b"b", b"c", b"d")]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        content = read_whole(path)
        assert len(content) == 50_000
        assert content == content[:1] * 50_000
        reads += 1
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert reads > 10
    assert entries(path.parent) == ["state"]


def test_a_checksummed_file_finds_every_truncation_and_every_flip(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "state")
    file.write(b"sum = 4711\n\0")
    assert file.read() == b"sum = 4711\n\0"
    whole = read_whole(file.path)
    for length in range(len(whole)):
        file.path.write_bytes(whole[:length])
        with pytest.raises(DamagedError, match="state is damaged"):
            file.read()
    for at in range(len(whole)):
        for bit in range(8):
            file.path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
            with pytest.raises(DamagedError):
                file.read()


@given(body=st.binary(max_size=200), cut=st.integers(0, 300), put=st.binary(max_size=20), take=st.integers(0, 20))
def test_any_edit_of_a_frame_is_found(body: bytes, cut: int, put: bytes, take: int) -> None:
    whole = framed("note", body)
    assert unframed("note", whole, "here") == body
    with pytest.raises(DamagedError):
        unframed("letter", whole, "here")
    edited = whole[:cut] + put + whole[cut + take :]
    if edited != whole:
        with pytest.raises(DamagedError, match="here is damaged"):
            unframed("note", edited, "here")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_says_of_which_file(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    write = os.write
    monkeypatch.setattr(os, "write", lambda _, data: write(full, data))
    try:
        with pytest.raises(OSError, match=r"No space left on device: .*state"):
            write_atomically(path, NEW)
        with pytest.raises(OSError, match=r"No space left on device: .*done\.log"):
            AppendLog(tmp_path / "done.log").append(NEW)
    finally:
        monkeypatch.undo()
        os.close(full)
    assert read_whole(path) == OLD
