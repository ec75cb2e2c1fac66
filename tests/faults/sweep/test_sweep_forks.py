"""The sweep in Python: a function that dies at each of its operations."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from premortem.events import Event
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash, every_power_loss
from premortem.model.sweep import Outcome

pytestmark = pytest.mark.skipif(bool(syscalls.why_not()), reason=f"no system calls here: {syscalls.why_not()}")


def torn(path: Path, number: int) -> None:
    with path.open("w") as file:
        json.dump({"n": number}, file)


def mended(path: Path, number: int) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        json.dump({"n": number}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def whole(path: Path) -> bool:
    try:
        return json.loads(path.read_text())["n"] in (1, 2)
    except ValueError:
        return False


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state.json"
    path.write_text('{"n": 1}')
    return path


def test_every_point_at_which_it_may_die_is_met_and_the_folder_is_as_it_was(state: Path, heard: list[Event]) -> None:
    seen = [(str(crash.recipe), whole(state)) for crash in every_crash(torn, state, 2, folder=state.parent)]
    assert seen == [("syscall:open#1=kill", True), ("syscall:write#1=kill", False)]
    assert state.read_text() == '{"n": 1}'
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"] * 2


def test_the_mended_writer_is_whole_at_every_point(state: Path) -> None:
    (state.parent / "kept").mkdir()
    crashes = []
    for crash in every_crash(mended, state, 2, folder=state.parent):
        assert whole(state), crash
        assert (state.parent / "kept").is_dir()
        crashes.append(crash)
    assert [crash.recipe.what for crash in crashes] == ["open", "write", "fsync", "rename"]
    assert {crash.outcome for crash in crashes} == {Outcome.SURVIVED}


def test_errors_strike_only_what_they_suit_once_or_from_there_on(state: Path) -> None:
    crashes = list(every_crash(mended, state, 2, folder=state.parent, effects=("ENOSPC", "short")))
    told = [(str(crash.recipe), crash.outcome) for crash in crashes]
    assert told == [
        ("syscall:open#1=ENOSPC", Outcome.ERROR),
        ("syscall:write#1=ENOSPC", Outcome.ERROR),
        ("syscall:rename#1=ENOSPC", Outcome.ERROR),
        ("syscall:write#1=short", Outcome.SURVIVED),
    ]
    assert "OSError: [Errno 28]" in crashes[0].output
    onward = list(every_crash(mended, state, 2, folder=state.parent, effects=("EIO",), onward=True))
    assert [str(crash.recipe) for crash in onward][:2] == ["syscall:*#1+=EIO", "syscall:*#2+=EIO"]


def test_a_function_that_does_nothing_is_never_struck(tmp_path: Path) -> None:
    assert list(every_crash(len, "", folder=tmp_path)) == []


def unsynced(path: Path, number: int) -> None:
    draft = path.with_suffix(".draft")
    with draft.open("w") as file:
        json.dump({"n": number}, file)
    draft.replace(path)


def test_a_power_failure_finds_what_a_kill_cannot(state: Path) -> None:
    assert all(whole(state) for _ in every_crash(unsynced, state, 2, folder=state.parent))
    torn = [one.name for one in every_power_loss(unsynced, state, 2, folder=state.parent) if not whole(state)]
    assert any(name.startswith("power:rename#1/") for name in torn)
    assert state.read_text() == '{"n": 1}'
    assert all(whole(state) for _ in every_power_loss(mended, state, 2, folder=state.parent))
