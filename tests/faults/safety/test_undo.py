"""Undoing: of each kind, twice, where nothing was struck, and never on what is another's by now."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults.leases.identity import Owner, born
from premortem.faults.leases.undo import (
    KINDS,
    Continue,
    KillGroup,
    PutBack,
    RemoveFolder,
    RestoreLimit,
    Undo,
    as_fields,
    from_fields,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

numbers, words = st.integers(), st.text()
undos: st.SearchStrategy[Undo] = st.one_of(
    st.builds(Continue, numbers, words),
    st.builds(RestoreLimit, numbers, words, numbers, numbers),
    st.builds(PutBack, words, words, words, numbers),
    st.builds(RemoveFolder, words, numbers, numbers),
    st.builds(KillGroup, numbers, words),
)


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@given(undo=undos)
def test_it_is_the_same_after_the_journal(undo: Undo) -> None:
    assert from_fields(json.loads(json.dumps(as_fields(undo)))) == undo


@given(undo=undos, data=st.data())
def test_a_line_that_is_not_whole_is_refused(undo: Undo, data: st.DataObject) -> None:
    told: dict[str, object] = dict(as_fields(undo))
    name = data.draw(st.sampled_from(sorted(told)))
    told[name] = data.draw(st.one_of(st.none(), st.booleans(), st.lists(numbers), st.floats()))
    with pytest.raises(ValueError, match="has to"):
        from_fields(told)
    del told[name]
    with pytest.raises(ValueError, match="has to"):
        from_fields(told)


def test_every_kind_is_in_the_table() -> None:
    assert set(KINDS.values()) == set(Undo.__args__)


def test_a_stopped_process_goes_on(child: subprocess.Popen[bytes], eventually: Callable[..., None]) -> None:
    undo = Continue.of(child.pid)
    child.send_signal(signal.SIGSTOP)
    eventually(lambda: state(child.pid) == "T")
    for _ in range(2):
        assert undo.undo().said == f"process {child.pid} goes on"
        eventually(lambda: state(child.pid) == "S")


def test_a_process_under_the_same_number_is_not_touched(
    child: subprocess.Popen[bytes], eventually: Callable[..., None]
) -> None:
    child.send_signal(signal.SIGSTOP)
    eventually(lambda: state(child.pid) == "T")
    reused: list[Undo] = [
        Continue(child.pid, "another boot/1"),
        RestoreLimit(child.pid, "another boot/1", resource.RLIMIT_NOFILE, 7),
        KillGroup(child.pid, "another boot/1"),
    ]
    for undo in reused:
        undone = undo.undo()
        assert not undone.changed
        assert "another one by now" in undone.said
    assert state(child.pid) == "T"
    assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE)[0] != 7


def test_a_process_that_has_ended_needs_nothing(child: subprocess.Popen[bytes]) -> None:
    undos: list[Undo] = [Continue.of(child.pid), RestoreLimit.of(child.pid, resource.RLIMIT_NOFILE)]
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [undo.undo().said for undo in undos] == [f"process {child.pid} has ended"] * 2
    child.wait()
    assert [undo.undo().said for undo in undos] == [f"process {child.pid} has ended"] * 2
    with pytest.raises(FaultError, match="not running"):
        Continue.of(child.pid)


def test_one_that_is_not_reaped_yet_has_no_birth_and_is_no_owner(child: subprocess.Popen[bytes]) -> None:
    owner = Owner(child.pid, born(child.pid))
    assert owner.lives()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not owner.lives()
    assert born(child.pid, even_ended=True) == owner.birth
    assert not Owner(os.getpid(), "").lives()


def test_a_soft_limit_comes_back(child: subprocess.Popen[bytes]) -> None:
    before = resource.prlimit(child.pid, resource.RLIMIT_NOFILE)
    undo = RestoreLimit.of(child.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(child.pid, resource.RLIMIT_NOFILE, (16, before[1]))
    assert undo.undo().changed
    assert resource.prlimit(child.pid, resource.RLIMIT_NOFILE) == before
    assert not undo.undo().changed


def test_a_folder_of_ours_is_removed_and_another_one_at_its_path_is_not(tmp_path: Path) -> None:
    folder = tmp_path / "ours"
    folder.mkdir()
    (folder / "file").touch()
    undo = RemoveFolder.of(folder)
    assert undo.undo().changed
    assert undo.undo().said.endswith("gone already")
    held = tmp_path / "held"  # so that its inode is not given out again
    held.mkdir()
    undo = RemoveFolder.of(held)
    held.rename(tmp_path / "elsewhere")
    held.mkdir()
    assert "another one by now" in undo.undo().said
    held.rmdir()
    held.symlink_to(tmp_path / "elsewhere")
    assert "another one by now" in undo.undo().said
    assert (tmp_path / "elsewhere").is_dir()


def test_a_group_is_killed_while_its_leader_can_be_told(child: subprocess.Popen[bytes]) -> None:
    undo = KillGroup.of(child.pid)
    assert undo.undo().changed
    assert child.wait() == -signal.SIGKILL
    assert undo.undo().said == f"the leader of group {child.pid} has gone; nothing is touched"


def test_our_own_group_is_never_killed() -> None:
    with pytest.raises(FaultError, match="no group of its own"):
        KillGroup.of(os.getpgrp())


def test_a_file_is_put_back_whatever_was_made_of_it(table: Path, tmp_path: Path) -> None:
    before = table.read_bytes()
    table.chmod(0o640)
    undo = PutBack.keep(table, table.parent, tmp_path / "kept")
    assert not undo.undo().changed

    def put_folder() -> None:
        table.unlink()
        table.mkdir()

    def put_link() -> None:
        table.unlink()
        table.symlink_to(tmp_path / "outside")

    mischief: list[Callable[[], object]] = [
        lambda: table.write_bytes(b"other"),
        table.unlink,
        lambda: table.chmod(0o600),
        put_folder,
        put_link,
        lambda: shutil.rmtree(table.parent),
    ]
    for make in mischief:
        make()
        assert undo.undo().changed
        assert table.read_bytes() == before
        assert table.stat().st_mode & 0o777 == 0o640
        assert not table.is_symlink()
    assert not (tmp_path / "outside").exists()


def test_a_file_is_not_put_back_through_a_link(table: Path, tmp_path: Path) -> None:
    undo = PutBack.keep(table, table.parent, tmp_path / "kept")
    (tmp_path / "outside").mkdir()
    outside = replace(undo, path=str(table.parent / "in" / "table.csv"))
    (table.parent / "in").symlink_to(tmp_path / "outside")
    with pytest.raises(FaultError, match="lies outside"):
        outside.undo()
    assert list((tmp_path / "outside").iterdir()) == []
