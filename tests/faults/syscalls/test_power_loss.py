"""Power loss on real programs: each known way to save a file has exactly the states that it is known for."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError, FaultError
from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.power_loss import DiskState, Snapshot, disk_state, disk_states, snapshot
from premortem.faults.syscalls import Operation

OLD, NEW = {"number": 1}, {"number": 2, "padding": "x" * 20}
LARGE = {"number": 2, "padding": "x" * 10_000}


def renamed() -> None:
    with Path("draft").open("w") as file:
        json.dump(NEW, file)
    Path("draft").rename("state.json")


def synced_and_renamed() -> None:
    with Path("draft").open("w") as file:
        json.dump(NEW, file)
        file.flush()
        os.fsync(file.fileno())
    Path("draft").rename("state.json")


def overwritten() -> None:
    with Path("state.json").open("w") as file:
        json.dump(LARGE, file)
        file.flush()
        os.fsync(file.fileno())


def traced(program: Callable[[], object], folder: Path) -> tuple[tuple[Operation, ...], Snapshot]:
    before = snapshot(folder)
    ended = syscalls.run(program, record_data=True, folder=folder)
    assert ended.status == 0, ended.output
    return ended.operations, before


def violating(states: Iterator[DiskState]) -> dict[str, bytes]:
    """The states in which state.json is neither the old nor the new one, by their names."""
    bad = {}
    for state in states:
        content = state.content.files["state.json"]
        with suppress(ValueError):
            if json.loads(content) in (OLD, NEW, LARGE):
                continue
        bad[state.name] = content
    return bad


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "run"
    place.mkdir()
    (place / "state.json").write_text(json.dumps(OLD))
    return place


def test_a_rename_without_fsync_may_leave_an_empty_file(folder: Path) -> None:
    bad = violating(disk_states(*traced(renamed, folder)))
    assert bad["power:rename#1/names"] == b""
    assert bad["power:rename#1/zeros"].strip(b"\0") == b""
    assert all(name.startswith("power:rename#1/") for name in bad)


def test_a_rename_after_an_fsync_leaves_the_old_or_the_new(folder: Path) -> None:
    states = list(disk_states(*traced(synced_and_renamed, folder)))
    assert not violating(iter(states))
    assert {json.loads(state.content.files["state.json"])["number"] for state in states} == {1, 2}


def test_overwritten_in_place_it_may_be_torn(folder: Path) -> None:
    bad = violating(disk_states(*traced(overwritten, folder)))
    lengths = {len(content) for content in bad.values()}
    assert {0, 1, 4096, 8192} <= lengths


def test_each_state_can_be_made_again_by_its_name(folder: Path) -> None:
    operations, before = traced(renamed, folder)
    for state in disk_states(operations, before):
        assert disk_state(operations, before, state.name) == state
    with pytest.raises(ConfigurationError, match="can leave no such state"):
        disk_state(operations, before, "power:rename#9/names")


def test_a_state_is_written_where_nothing_is(folder: Path, tmp_path: Path, heard: list[Event]) -> None:
    operations, before = traced(renamed, folder)
    state = disk_state(operations, before, "power:rename#1/names")
    state.write_to(tmp_path / "after")
    assert snapshot(tmp_path / "after") == state.content
    assert heard[-1].get("fault") == "power loss"
    with pytest.raises(FaultError, match="is not empty"):
        state.write_to(folder)


def test_a_database_that_syncs_keeps_every_row_that_it_promised(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with closing(sqlite3.connect(folder / "a.db")) as db:
        db.execute("create table t (x)")
        db.execute("insert into t values (1)")
        db.commit()

    def program() -> None:
        db = sqlite3.connect("a.db", isolation_level=None)
        db.execute("pragma synchronous=extra")
        db.execute("insert into t values (2)")
        Path("promised").touch()
        db.execute("insert into t values (3)")
        db.close()

    operations, before = traced(program, folder)
    promised_at = next(one.index for one in operations if one.target == "promised")
    count = 0
    for count, state in enumerate(disk_states(operations, before, repeated=True, most=400), 1):
        place = tmp_path / f"state{count}"
        state.write_to(place)
        with closing(sqlite3.connect(place / "a.db")) as db:
            rows = [x for (x,) in db.execute("select x from t order by x")]
            assert db.execute("pragma integrity_check").fetchone() == ("ok",), state
        assert rows[:1] == [1], state
        assert rows[: len(rows)] == [1, 2, 3][: len(rows)], state
        assert len(rows) >= 2 or state.after < promised_at, state
    assert count > 20


def test_every_kind_of_call_ends_as_on_the_real_disk(folder: Path) -> None:
    """What is left when everything has arrived is what is left on the disk."""

    def program() -> None:
        descriptor = os.open("raw", os.O_RDWR | os.O_CREAT)
        os.write(descriptor, b"12345678")
        os.lseek(descriptor, 2, os.SEEK_SET)
        os.writev(descriptor, [b"ab", b"c"])
        os.pwrite(descriptor, b"Z", 20)
        os.ftruncate(descriptor, 18)
        os.posix_fallocate(descriptor, 0, 30)
        duplicate = os.dup(descriptor)
        os.write(duplicate, b"D")
        os.close(descriptor)
        appended = os.open("raw", os.O_WRONLY | os.O_APPEND)
        os.write(appended, b"end")
        copy = os.open("copy", os.O_WRONLY | os.O_CREAT | os.O_DSYNC)
        source = os.open("raw", os.O_RDONLY)
        os.sendfile(copy, source, None, 10)
        os.copy_file_range(source, copy, 5, offset_src=1)
        Path("one/two").mkdir(parents=True)
        Path("one/two/file").write_bytes(b"f")
        Path("one").rename("other")
        os.link("state.json", "linked")
        Path("symbolic").symlink_to("linked")
        Path("current").symlink_to("other")
        Path("current/through").write_bytes(b"t")
        Path("next").symlink_to(Path.cwd())
        Path("next").rename("current")
        Path("current/through").write_bytes(b"u")
        Path("gone").mkdir()
        Path("gone").rmdir()
        with suppress(OSError):
            Path("missing").rename("nowhere")
        with suppress(OSError):
            Path("other").rmdir()
        Path("state.json").unlink()
        os.truncate("linked", 3)
        with Path("deleted").open("w") as file:
            Path("deleted").unlink()
            file.write("nobody finds this")

    operations, before = traced(program, folder)
    last = operations[-1]
    everything = disk_state(operations, before, f"power:{last.call}#{last.nth}/all")
    assert everything.content == snapshot(folder)
