"""Faults of the environment and of processes: undone, told, and only on what is ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from premortem.errors import FaultError
from premortem.events import Event
from premortem.faults import environment, processes
from premortem.faults.leases.lease_journal import FOLDER_VARIABLE

NAME = "PREMORTEM_TEST_VARIABLE"


class MishapError(Exception):
    """Whatever may happen in the block."""


@pytest.fixture(autouse=True)
def _leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that lives until its standard input ends, and says so when it is there."""
    code = "print('there', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()
        yield process
        process.kill()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("mischief", [None, "set", "unset"])
@pytest.mark.parametrize("before", ["old", None])
def test_a_changed_variable_comes_back(
    monkeypatch: pytest.MonkeyPatch, before: str | None, mischief: str | None, heard: list[Event]
) -> None:
    monkeypatch.delenv(NAME, raising=False)
    if before is not None:
        monkeypatch.setenv(NAME, before)
    with suppress(MishapError), environment.changed(NAME, "new"):
        assert os.environ[NAME] == "new"
        if mischief == "set":
            os.environ[NAME] = "newer"
        elif mischief == "unset":
            del os.environ[NAME]
        raise MishapError
    assert os.environ.get(NAME) == before
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"]


@pytest.mark.parametrize("set_meanwhile", ["", "newer"])
def test_an_unset_variable_comes_back(monkeypatch: pytest.MonkeyPatch, set_meanwhile: str, heard: list[Event]) -> None:
    monkeypatch.setenv(NAME, "old")
    with suppress(MishapError), environment.unset(NAME):
        assert NAME not in os.environ
        if set_meanwhile:
            os.environ[NAME] = set_meanwhile
        raise MishapError
    assert os.environ[NAME] == "old"
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"]


def test_a_variable_that_would_not_change_is_no_strike(monkeypatch: pytest.MonkeyPatch, heard: list[Event]) -> None:
    monkeypatch.setenv(NAME, "old")
    with pytest.raises(FaultError, match="already"), environment.changed(NAME, "old"):
        pass
    monkeypatch.delenv(NAME)
    with pytest.raises(FaultError, match="is not set"), environment.unset(NAME):
        pass
    assert heard == []


def test_a_killed_process_has_no_say_in_it(child: subprocess.Popen[bytes], heard: list[Event]) -> None:
    processes.kill(child.pid, "the worker")
    assert child.wait() == -signal.SIGKILL
    assert heard[0].get("what") == f"the worker, process {child.pid}"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_frozen_process_goes_on_afterwards(child: subprocess.Popen[bytes], heard: list[Event]) -> None:
    with processes.frozen(child.pid, "the worker"):
        while state(child.pid) != "T":
            pass
    while state(child.pid) == "T":
        pass
    child.communicate(b"\n")
    assert child.returncode == 0
    assert [event.name for event in heard] == ["fault.struck", "fault.lifted"]


def test_a_frozen_process_may_be_killed_meanwhile(child: subprocess.Popen[bytes]) -> None:
    with processes.frozen(child.pid, "the worker"):
        child.kill()
        child.wait()


@pytest.mark.parametrize(
    "who",
    [os.getppid, os.getpid, lambda: 1, lambda: 0, lambda: -1, lambda: 2**22 + 1],
    ids=["our parent", "we", "init", "our group", "everybody", "nobody"],
)
def test_a_process_that_we_did_not_start_is_not_struck(who: Callable[[], int], heard: list[Event]) -> None:
    pid = who()
    with pytest.raises(FaultError, match="none that we started"):
        processes.kill(pid, "somebody")
    with pytest.raises(FaultError, match="none that we started"), processes.frozen(pid, "somebody"):
        pass
    assert heard == []
