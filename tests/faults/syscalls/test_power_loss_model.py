"""The model of a disk, against itself: laws that hold for every trace."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from premortem.faults.power_loss import DiskState, Snapshot, disk_states
from premortem.faults.syscalls.operations import Operation

NAMES = st.sampled_from(["a", "b", "c"])
BEFORE = Snapshot({"a": b"old a", "b": b"old b"})


@st.composite
def operation(draw: st.DrawFn) -> Operation:
    call = draw(st.sampled_from(["open", "write", "ftruncate", "fsync", "sync folder", "rename", "unlink", "link"]))
    target, to = draw(NAMES), draw(NAMES)
    if call == "sync folder":
        return Operation(0, "fsync", 0, ".")
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


traces = st.lists(operation(), max_size=12).map(numbered)


def at_end(trace: list[Operation]) -> list[DiskState]:
    states = list(disk_states(trace, BEFORE, repeated=True, most=100_000))
    return [state for state in states if state.after == max((one.after for one in states), default=0)]


@given(traces)
def test_after_syncing_everything_there_is_one_state_only(trace: list[Operation]) -> None:
    assert len(at_end(numbered([*trace, Operation(0, "sync", 0)]))) == 1


@given(traces, st.integers(0, 11))
def test_a_sync_never_adds_a_state(trace: list[Operation], cut: int) -> None:
    plain = numbered([*trace, Operation(0, "link", 0, "missing", to="nowhere")])
    synced = numbered([*trace, Operation(0, "fsync", 0, "abc"[cut % 3])])
    assert len(at_end(synced)) <= len(at_end(plain)) + 0


@given(traces)
def test_states_differ_and_have_names_of_their_own(trace: list[Operation]) -> None:
    states = list(disk_states(trace, BEFORE, most=100_000))
    assert len({state.content.digest() for state in states}) == len(states)
    assert len({state.name for state in states}) == len(states)


@given(traces)
def test_never_more_than_was_asked_for(trace: list[Operation]) -> None:
    assert len(list(disk_states(trace, BEFORE, most=3))) <= 3


@given(traces)
def test_what_was_never_touched_is_as_it_was(trace: list[Operation]) -> None:
    touched = {path for one in trace for path in (one.target, one.to)}
    for state in disk_states(trace, BEFORE):
        for path, content in BEFORE.files.items():
            assert path in touched or state.content.files[path] == content
