"""The model of a disk, against the real file system and against itself: laws that hold for every trace."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.power_loss import DiskState, Snapshot, disk_state, disk_states, snapshot
from premortem.faults.syscalls.operations import Operation

CALLS = ["open", "write", "ftruncate", "fsync", "rename", "unlink", "link", "mkdir", "rmdir"]
NAMES = ["a", "b", "folder", "folder/a", "folder/b"]
BEFORE = Snapshot({"a": b"old a", "folder/b": b"old b"}, frozenset({"folder"}))
MOST = 100_000


@st.composite
def operation(draw: st.DrawFn, calls: list[str], names: list[str]) -> Operation:
    call = draw(st.sampled_from(calls))
    target, to = draw(st.sampled_from(names)), draw(st.sampled_from(names))
    if call == "fsync":
        target = draw(st.sampled_from([*names, "."]))
    if call == "open":
        return Operation(0, call, 0, target, flags=os.O_WRONLY | os.O_CREAT | draw(st.sampled_from([0, os.O_TRUNC])))
    if call == "write":
        data = draw(st.binary(min_size=1, max_size=6))
        return Operation(0, call, 0, target, len(data), offset=draw(st.integers(0, 9)), data=data)
    return Operation(0, call, 0, target, draw(st.integers(0, 9)), to=to)


def numbered(operations: list[Operation]) -> list[Operation]:
    return [
        Operation(
            index, one.call, index, one.target, one.size, to=one.to, flags=one.flags, offset=one.offset, data=one.data
        )
        for index, one in enumerate(operations, 1)
    ]


traces = st.lists(operation(CALLS, NAMES), min_size=1, max_size=12).map(numbered)
data_only = st.lists(operation(["open", "write", "ftruncate"], ["a", "folder/b"]), max_size=8)


def do(folder: Path, one: Operation) -> None:
    """The same to a real folder; a call that fails there fails."""
    path, to = folder / one.target, folder / one.to
    with suppress(OSError):
        match one.call:
            case "open":
                os.close(os.open(path, one.flags))
            case "write" | "ftruncate":
                descriptor = os.open(path, os.O_WRONLY)
                try:
                    if one.call == "write":
                        os.pwrite(descriptor, one.data, one.offset or 0)
                    else:
                        os.ftruncate(descriptor, one.size or 0)
                finally:
                    os.close(descriptor)
            case "rename":
                path.rename(to)
            case "link":
                to.hardlink_to(path)
            case "unlink" | "mkdir" | "rmdir":
                getattr(path, one.call)()


def at_end(trace: list[Operation]) -> list[DiskState]:
    states = list(disk_states(trace, BEFORE, repeated=True, most=MOST))
    return [state for state in states if state.after == len(trace)]


@given(traces)
def test_when_everything_has_arrived_it_is_as_on_the_real_file_system(trace: list[Operation]) -> None:
    with TemporaryDirectory() as folder:
        BEFORE.write_to(Path(folder))
        for one in trace:
            do(Path(folder), one)
        last = trace[-1]
        everything = disk_state(trace, BEFORE, f"power:{last.call}#{last.nth}/all")
        assert everything.content == snapshot(Path(folder))


@given(traces)
def test_after_syncing_everything_there_is_one_state_only(trace: list[Operation]) -> None:
    assert len(at_end(numbered([*trace, Operation(0, "sync", 0)]))) == 1


@given(data_only, st.sampled_from(["a", "folder/b"]))
def test_what_was_synced_is_there_whatever_else_is_lost(trace: list[Operation], path: str) -> None:
    states = at_end(numbered([*trace, Operation(0, "fsync", 0, path)]))
    (arrived,) = {state.content.files[path] for state in states}
    everything = at_end(numbered([*trace, Operation(0, "sync", 0)]))
    assert [state.content.files[path] for state in everything] == [arrived]


@given(data_only)
def test_nothing_synced_means_that_all_may_be_lost(trace: list[Operation]) -> None:
    for moment in {state.after for state in disk_states(numbered(trace), BEFORE, repeated=True, most=MOST)}:
        at_moment = [s for s in disk_states(numbered(trace), BEFORE, repeated=True, most=MOST) if s.after == moment]
        assert BEFORE.digest() in {state.content.digest() for state in at_moment}


@given(traces)
def test_states_differ_and_have_names_of_their_own(trace: list[Operation]) -> None:
    states = list(disk_states(trace, BEFORE, most=MOST))
    assert len({state.content.digest() for state in states}) == len(states)
    assert len({state.name for state in states}) == len(states)


@given(traces)
def test_never_more_than_was_asked_for(trace: list[Operation]) -> None:
    assert len(list(disk_states(trace, BEFORE, most=3))) <= 3


@given(traces)
def test_what_was_never_touched_is_as_it_was(trace: list[Operation]) -> None:
    touched = tuple(f"{path}/" for one in trace for path in (one.target, one.to) if path)
    for state in disk_states(trace, BEFORE):
        for path, content in BEFORE.files.items():
            assert f"{path}/".startswith(touched) or state.content.files[path] == content
