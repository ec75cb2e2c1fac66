"""Healing: what dead owners left in is taken out, once, and nothing else is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.cli.heal import command
from premortem.faults.files import Files
from premortem.faults.leases import lease_journal
from premortem.faults.leases.heal import Outcome, heal
from premortem.faults.leases.identity import Owner, born
from premortem.faults.leases.keeper import keeper
from premortem.faults.leases.lease import leased
from premortem.faults.leases.lease_journal import Entry
from premortem.faults.leases.undo import Continue, Undo

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

Child = subprocess.Popen[bytes]
Eventually = Callable[[Callable[[], bool]], None]
DEAD = Owner(4711, "an earlier boot/12")
STRUCK = b"struck"


@pytest.fixture
def left_in(child: Child, table: Path, journal: Path) -> bytes:
    """A controller and its watchdog were killed together: a process is frozen and a file is struck. What it held."""
    before = table.read_bytes()
    pid = os.fork()
    if not pid:
        with (
            leased(Continue.of(child.pid), what="the worker is frozen", journal=journal),
            Files(table.parent, journal).overwritten(table, STRUCK, "struck"),
        ):
            os.kill(child.pid, signal.SIGSTOP)
            os.kill(keeper().pid, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    return before


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def write(journal: Path, undo: Undo, owner: Owner = DEAD) -> Path:
    path = lease_journal.file_of(journal, owner)
    lease_journal.write_open(path, owner, Entry(1, "by hand", undo, "2026-01-01T00:00:00+00:00", 30.0))
    return path


def test_what_is_left_in_is_taken_out_the_last_first(
    child: Child, table: Path, journal: Path, left_in: bytes, eventually: Eventually
) -> None:
    found = heal(journal)
    assert [(one.what, one.outcome) for one in found] == [
        ("table.csv: overwritten", Outcome.UNDONE),
        ("the worker is frozen", Outcome.UNDONE),
    ]
    assert table.read_bytes() == left_in
    eventually(lambda: not stopped(child.pid))
    assert list(journal.glob("*.jsonl")) == []
    assert list((journal / "kept").iterdir()) == []
    assert heal(journal) == ()


def test_a_dry_run_touches_nothing(
    child: Child, table: Path, journal: Path, left_in: bytes, eventually: Eventually
) -> None:
    assert left_in != STRUCK
    eventually(lambda: stopped(child.pid))
    for _ in range(2):
        assert [one.outcome for one in heal(journal, dry_run=True)] == [Outcome.WOULD_UNDO] * 2
    assert table.read_bytes() == STRUCK
    assert stopped(child.pid)


def test_work_that_was_done_on_the_file_since_is_set_aside(table: Path, journal: Path, left_in: bytes) -> None:
    table.write_bytes(b"repaired by hand")
    said = heal(journal)[0].said
    assert table.read_bytes() == left_in
    (aside,) = (journal / "aside").iterdir()
    assert str(aside) in said
    assert aside.read_bytes() == b"repaired by hand"


def test_an_owner_that_runs_is_left_alone(child: Child, journal: Path) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        os.kill(child.pid, signal.SIGSTOP)
        while not stopped(child.pid):
            pass
        (found,) = heal(journal)
        assert found.outcome is Outcome.STILL_RUNS
        assert not found.stays
        assert stopped(child.pid)


@pytest.mark.usefixtures("left_in")
def test_a_number_that_was_given_out_again_is_not_touched(child: Child, journal: Path, eventually: Eventually) -> None:
    heal(journal)
    write(journal, Continue(child.pid, "an earlier boot/12"))
    os.kill(child.pid, signal.SIGSTOP)
    eventually(lambda: stopped(child.pid))
    (found,) = heal(journal)
    assert found.outcome is Outcome.NOTHING_TO_DO
    assert "another one by now" in found.said
    assert stopped(child.pid)


def test_an_owner_s_number_that_was_given_out_again_does_not_protect_its_faults(child: Child, journal: Path) -> None:
    owner = Owner(os.getpid(), "an earlier boot/12")
    assert born(owner.pid)
    write(journal, Continue.of(child.pid), owner)
    assert [one.outcome for one in heal(journal)] == [Outcome.UNDONE]


def test_a_watchdog_that_was_quicker_is_no_failure(
    journal: Path, table: Path, left_in: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes the lease and removes the copy after heal has read the journal, and before it gets to the entry."""
    read, races = lease_journal.read, iter([True])

    def read_and_lose_the_race(path: Path) -> lease_journal.Recorded:
        record = read(path)
        if next(races, False):
            table.write_bytes(left_in)
            path.unlink()
            for copy in (journal / "kept").iterdir():
                copy.unlink()
        return record

    monkeypatch.setattr(lease_journal, "read", read_and_lose_the_race)
    found = heal(journal)
    assert found[0].outcome is Outcome.NOTHING_TO_DO
    assert found[0].said == "its watchdog was quicker"
    assert not any(one.stays for one in found)


def test_what_fails_stays_in_the_journal_and_the_rest_is_healed(
    child: Child, table: Path, journal: Path, left_in: bytes, eventually: Eventually
) -> None:
    for copy in (journal / "kept").iterdir():
        copy.rename(journal / "mislaid")
    found = heal(journal)
    assert [one.outcome for one in found] == [Outcome.FAILED, Outcome.UNDONE]
    eventually(lambda: not stopped(child.pid))
    (journal / "mislaid").rename(copy)
    assert [one.outcome for one in heal(journal)] == [Outcome.UNDONE]
    assert table.read_bytes() == left_in


def test_a_file_that_is_no_journal_is_told_and_kept(journal: Path) -> None:
    journal.mkdir()
    (journal / "x.jsonl").write_text("?")
    (found,) = heal(journal)
    assert found.outcome is Outcome.UNREADABLE
    assert (journal / "x.jsonl").exists()


def run(*arguments: str) -> object:
    return command.main(list(arguments), standalone_mode=False)


def test_the_command_says_what_it_did_and_exits_accordingly(
    table: Path, journal: Path, left_in: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(str(journal), "--dry-run") == 1
    assert "would be undone" in capsys.readouterr().out
    assert run(str(journal)) == 0
    assert "table.csv: overwritten (process" in capsys.readouterr().out
    assert table.read_bytes() == left_in
    assert run(str(journal)) == 0
    assert "no fault is left in" in capsys.readouterr().out


@pytest.mark.usefixtures("left_in")
def test_the_command_tells_it_as_json(table: Path, journal: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(journal), "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [one["outcome"] for one in told] == ["undone", "undone"]
    assert told[0]["said"].startswith(f"{table} is put back")
    assert run(str(journal), "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_a_failure_is_exit_code_1(journal: Path, left_in: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    assert left_in
    for copy in (journal / "kept").iterdir():
        copy.unlink()
    assert run(str(journal)) == 1
    assert "failed" in capsys.readouterr().out
