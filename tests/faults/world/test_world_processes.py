"""Processes that start late, have ended and are not buried, or are not what their name says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError
from premortem.faults import processes, stand_ins

Told = Callable[[], list[tuple[str, str]]]
Eventually = Callable[[Callable[[], bool]], None]

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@linux
def test_a_late_start_is_there_and_does_nothing(tmp_path: Path, told: Told, eventually: Eventually) -> None:
    began = time.monotonic()
    with processes.started_late(["touch", str(tmp_path / "started")], 0.2) as process:
        assert processes.state(process.pid) in "Tt" or time.monotonic() - began > 0.2
        eventually((tmp_path / "started").exists)
        assert time.monotonic() - began >= 0.2
        assert process.wait() == 0
    assert told() == [("struck", "started late"), ("lifted", "started late")]


@linux
def test_a_late_start_ends_with_its_block() -> None:
    with processes.started_late(["sleep", "600"], 600) as process:
        pid = process.pid
    assert processes.state(pid) == "X"
    with pytest.raises(FaultError, match="would not be late"), processes.started_late(["true"], 0):
        pass


@linux
def test_the_owner_of_a_late_start_and_of_a_frozen_child_may_die(tmp_path: Path, eventually: Eventually) -> None:
    code = (
        "import os, signal, subprocess\nfrom premortem.faults import processes\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "with processes.started_late(['sleep', '600'], 600) as late, processes.frozen(child.pid, 'a child'):\n"
        "    print(late.pid, child.pid, flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    path = tmp_path / "said"
    with path.open("w") as said:
        subprocess.run([sys.executable, "-c", code], stdout=said, cwd=tmp_path, check=False)
    late, child = map(int, path.read_text().split())
    try:
        eventually(lambda: processes.state(late) in "XZ")
        eventually(lambda: processes.state(child) in "SR")
    finally:
        os.kill(child, signal.SIGKILL)


@linux
def test_a_zombie_is_there_until_it_is_buried(told: Told) -> None:
    with processes.zombie() as pid:
        assert processes.state(pid) == "Z"
        assert processes.zombies() == (pid,)
        os.kill(pid, signal.SIGKILL)
        assert processes.state(pid) == "Z"
    assert processes.state(pid) == "X"
    assert processes.zombies() == ()
    assert told() == [("struck", "zombie"), ("lifted", "zombie")]


def call(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_a_command_ends_as_it_is_told(told: Told) -> None:
    before = os.environ["PATH"]
    with stand_ins.ends("date", 3, output="it's %s\n", error="no\\n") as stand_in:
        assert told() == []
        done = call("date", "-u", "a b")
        assert (done.returncode, done.stdout, done.stderr) == (3, "it's %s\n", "no\\n")
        assert stand_in.calls == ("-u a b",)
        assert told() == [("struck", "stand-in")]
    assert call("date", "-u", "+%%").stdout == "%\n"
    assert os.environ["PATH"] == before
    assert told()[-1] == ("lifted", "stand-in")


def test_a_command_that_is_not_installed_can_be_stood_in_for_and_die() -> None:
    with stand_ins.ends("premortem-no-such-command", -signal.SIGTERM):
        assert call("premortem-no-such-command").returncode == -signal.SIGTERM
    with pytest.raises((FileNotFoundError, PermissionError)):  # the latter where a folder on PATH is closed to us
        call("premortem-no-such-command")


def test_the_real_one_takes_over(told: Told) -> None:
    with stand_ins.ends("true", 75, first=2) as stand_in:
        assert [call("true", str(number)).returncode for number in range(4)] == [75, 75, 0, 0]
        assert len(stand_in.calls) == 4
    assert told().count(("struck", "stand-in")) == 1


def test_a_stand_in_that_nobody_called_struck_nothing(told: Told) -> None:
    with stand_ins.ends("date"):
        pass
    assert told() == [("lifted", "stand-in")]


@settings(max_examples=20)
@given(st.integers(0, 255), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=20))
def test_any_status_and_any_words(status: int, words: str) -> None:
    with stand_ins.ends("premortem-any", status, output=words, error=words):
        done = call("premortem-any")
    assert (done.returncode, done.stdout, done.stderr) == (status, words, words)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: stand_ins.ends("/bin/date"),
        lambda: stand_ins.ends(""),
        lambda: stand_ins.ends("date", 256),
        lambda: stand_ins.ends("date", -1000),
        lambda: stand_ins.ends("date", after_s=-1),
        lambda: stand_ins.ends("date", first=0),
        lambda: stand_ins.ends("premortem-no-such-command", first=1),
    ],
)
def test_a_stand_in_that_cannot_be_is_refused(wrong: Callable[[], AbstractContextManager[object]], told: Told) -> None:
    with pytest.raises(FaultError), wrong():
        pass
    assert told() == []
