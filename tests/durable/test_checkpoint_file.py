"""The checkpoint in a folder: every truncation, every flipped byte, every crash, every error, every power failure."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from premortem.durable import Checkpoint, CheckpointDamagedError, FileStore, SqliteStore, StoreDownError
from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash
from premortem.model.codec import Json

swept = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    checkpoint = Checkpoint(FileStore(tmp_path), "job")
    for number in (1, 2, 3):
        checkpoint.save({"n": number})
    return tmp_path


def document(folder: Path, version: int) -> Path:
    return folder / "job" / f"{version:012d}.checkpoint"


def value(folder: Path) -> Json:
    found = Checkpoint(FileStore(folder), "job").load()
    return found.value if found else None


def test_truncated_at_every_length_it_is_found_and_the_last_good_one_used(folder: Path, heard: list[Event]) -> None:
    newest = document(folder, 3)
    whole = newest.read_bytes()
    for length in range(len(whole)):
        newest.write_bytes(whole[:length])
        del heard[:]
        assert value(folder) == {"n": 2}, length
        assert [(event.name, event.get("version")) for event in heard] == [("checkpoint.damaged", 3)], length
    newest.write_bytes(whole)
    assert value(folder) == {"n": 3}


def test_with_every_byte_flipped_it_is_found_and_the_last_good_one_used(folder: Path, heard: list[Event]) -> None:
    newest, second = document(folder, 3), document(folder, 2)
    whole = newest.read_bytes()
    for at in range(len(whole)):
        for change in (1, 0x20, 0x80, 0xFF):
            newest.write_bytes(whole[:at] + bytes([whole[at] ^ change]) + whole[at + 1 :])
            del heard[:]
            assert value(folder) == {"n": 2}, (at, change)
            assert [event.name for event in heard] == ["checkpoint.damaged"], (at, change)
    second.write_bytes(b"")
    assert value(folder) == {"n": 1}
    document(folder, 1).write_bytes(b"")
    with pytest.raises(CheckpointDamagedError):
        value(folder)


def test_the_head_truncated_and_flipped_anywhere_costs_nothing_but_the_claim(folder: Path, heard: list[Event]) -> None:
    head = folder / "job" / "head"
    whole = head.read_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in range(len(whole))]
    for raw in damaged:
        head.write_bytes(raw)
        del heard[:]
        assert value(folder) == {"n": 3}
        assert [event.name for event in heard] == ["checkpoint.head_damaged"]
    checkpoint = Checkpoint(FileStore(folder), "job")
    checkpoint.load()
    assert checkpoint.save({"n": 4}).version == 4


def test_a_folder_that_is_gone_is_nothing_saved_and_a_file_in_its_place_is_told(tmp_path: Path) -> None:
    assert value(tmp_path / "not there") is None
    (tmp_path / "file").write_text("no folder")
    checkpoint = Checkpoint(FileStore(tmp_path / "file"), "job")
    for act in (checkpoint.load, lambda: checkpoint.save(1), lambda: checkpoint.claim("me", 1), checkpoint.forget):
        with pytest.raises(StoreDownError, match=r"the folder .* is down"):
            act()


def test_another_process_that_hangs_in_a_save_is_told(folder: Path) -> None:
    import fcntl  # noqa: PLC0415 - not everywhere

    checkpoint = Checkpoint(FileStore(folder, wait_s=0.05), "job")
    checkpoint.load()
    with (folder / "job" / "lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StoreDownError, match=r"has held its lock for more than 0\.05 s"):
            checkpoint.save({"n": 4})
        assert value(folder) == {"n": 3}  # reading needs no lock


@swept
def test_the_first_save_in_folders_that_are_yet_to_be_made(tmp_path: Path, losses: Any) -> None:
    inner = tmp_path / "a" / "b"
    for loss in losses(lambda: _save(inner, 1)):
        assert value(inner) in ([{"n": 1}] if loss.said else [None, {"n": 1}]), loss


def _save(folder: Path, number: int, *, claim: bool = False) -> None:
    checkpoint = Checkpoint(FileStore(folder), "job")
    if claim:
        checkpoint.claim("me", 60)
    else:
        checkpoint.load()
    checkpoint.save({"n": number})
    (folder / "said-it").mkdir()


@swept
@pytest.mark.parametrize("claim", [False, True], ids=["alone", "by claim"])
def test_a_save_killed_or_failed_at_any_system_call_leaves_the_old_or_the_new(folder: Path, claim: bool) -> None:
    crashes = 0
    for crash in every_crash(
        lambda: _save(folder, 4, claim=claim), folder=folder, effects=("kill", "EIO", "ENOSPC", "short")
    ):
        found = value(folder)
        assert found in ([{"n": 4}] if (folder / "said-it").exists() else [{"n": 3}, {"n": 4}]), crash
        after = Checkpoint(FileStore(folder), "job")
        after.load()
        after.claim("me", 60)
        after.save({"n": 5})
        assert value(folder) == {"n": 5}, crash
        assert not list((folder / "job").glob(".*.draft")), crash
        crashes += 1
    assert crashes > 20


@swept
def test_the_very_first_save_killed_anywhere_leaves_nothing_or_the_new(tmp_path: Path) -> None:
    for crash in every_crash(_save, tmp_path, 1, folder=tmp_path):
        assert value(tmp_path) in ([{"n": 1}] if (tmp_path / "said-it").exists() else [None, {"n": 1}]), crash


@swept
@pytest.mark.parametrize("claim", [False, True], ids=["alone", "by claim"])
def test_a_power_failure_at_any_moment_leaves_the_old_or_the_new(folder: Path, losses: Any, claim: bool) -> None:
    promised = 0
    for loss in losses(lambda: _save(folder, 4, claim=claim)):
        assert value(folder) in ([{"n": 4}] if loss.said else [{"n": 3}, {"n": 4}]), loss
        after = Checkpoint(FileStore(folder), "job")
        after.load()
        after.claim("another", 60, take_over=True)
        after.save({"n": 5})
        assert value(folder) == {"n": 5}, loss
        promised += len(loss.said)
    assert promised


def _claim_twice(folder: Path) -> None:
    for _ in range(2):
        fence = Checkpoint(FileStore(folder), "job").claim("me", 60).fence
        (folder / f"said-{fence}").mkdir()


@swept
def test_a_fence_that_was_given_out_is_never_given_again_after_a_power_failure(folder: Path, losses: Any) -> None:
    for loss in losses(lambda: _claim_twice(folder)):
        given = max(map(int, loss.said), default=0)
        assert Checkpoint(FileStore(folder), "job").claim("me", 60).fence > given, loss


def _save_in_sqlite(folder: Path) -> None:
    store = SqliteStore(folder / "work.db")
    checkpoint = Checkpoint(store, "job")
    checkpoint.load()
    checkpoint.save({"n": 2})
    (folder / "said").mkdir()
    store.close()


@swept
@pytest.mark.parametrize("begun", [True, False], ids=["begun", "new"])
def test_a_save_in_sqlite_killed_or_failed_at_any_system_call_leaves_the_old_or_the_new(
    tmp_path: Path, begun: bool
) -> None:
    store = SqliteStore(tmp_path / "work.db")
    old = None
    if begun:
        Checkpoint(store, "job").save({"n": 1})
        old = {"n": 1}
    store.close()
    crashes = 0
    for crash in every_crash(_save_in_sqlite, tmp_path, folder=tmp_path, effects=("kill", "EIO", "ENOSPC", "short")):
        again = SqliteStore(tmp_path / "work.db")
        found = Checkpoint(again, "job").load()
        kept = found.value if found else None
        assert kept in ([{"n": 2}] if (tmp_path / "said-it").exists() else [old, {"n": 2}]), crash
        again.close()
        crashes += 1
    assert crashes > 5


def test_a_sqlite_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "work.db").write_bytes(b"no database" * 200)
    with pytest.raises(Exception, match="damaged: file is not a database"):
        Checkpoint(SqliteStore(tmp_path / "work.db"), "job").load()
    with pytest.raises(StoreDownError, match="unable to open"):
        Checkpoint(SqliteStore(tmp_path / "no folder" / "work.db"), "job").load()


def test_data_and_progress_in_sqlite_commit_together_or_not_at_all(tmp_path: Path) -> None:
    from premortem.durable.checkpoint.stores.sqlite import create_tables  # noqa: PLC0415 - beside its use

    connection = sqlite3.connect(tmp_path / "work.db")
    create_tables(connection)
    connection.execute("CREATE TABLE rows (n INTEGER)")
    connection.commit()
    checkpoint = Checkpoint(SqliteStore(connection), "job")
    for number, commit in ((1, True), (2, False), (2, True)):
        connection.execute("INSERT INTO rows VALUES (?)", (number,))
        checkpoint.save(number)
        if commit:
            connection.commit()
        else:
            connection.rollback()
        found = checkpoint.load()
        assert found is not None
        assert connection.execute("SELECT max(n) FROM rows").fetchone() == (found.value,)
        connection.rollback()
    connection.close()
