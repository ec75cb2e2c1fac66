"""We sweep ourselves: the controller is killed at every line of its own code, and nothing of its faults is left in.

Three sweeps: the controller is killed (its watchdog undoes), both are killed (`premortem heal` undoes), the watchdog
is killed (the controller undoes). The points are the lines that a clean run executes, each at its first and its last
time: some 350, 0.15 s each, of which a run here takes every fifth; PREMORTEM_EVERY_POINT=1 takes all. A fork of this
process plays the controller, so a point costs no start of an interpreter but the watchdog's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from premortem import faults
from premortem.errors import FaultError
from premortem.faults.files import Files
from premortem.faults.leases import keeper as keeping
from premortem.faults.leases.heal import heal
from premortem.faults.leases.lease import leased
from premortem.faults.leases.undo import Continue, RemoveFolder

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

Child = subprocess.Popen[bytes]
Eventually = Callable[[Callable[[], bool]], None]
Line = tuple[str, int]

OURS = str(Path(faults.__file__).parent)
BEFORE = b"id,price\n1,2.55\n"
SURVIVED, REFUSED = 0, 3
STRIDE = 1 if os.environ.get("PREMORTEM_EVERY_POINT") else 5
WATCHDOG_DIES = """
import os, signal, sys
sys.path.append(sys.argv[1])
seen = 0
def trace(frame, event, _):
    global seen
    if not frame.f_code.co_filename.startswith({ours!r}):
        return None
    if event == "line":
        seen += 1
        if seen == {step}:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
from premortem.faults.leases.watchdog import main
sys.settrace(trace)
sys.exit(main())
"""


def control(child: Child, table: Path, journal: Path) -> int:
    """What the controller does: it freezes a process, strikes a file, makes a folder, and takes all of it out again."""
    try:
        with leased(Continue.of(child.pid), what="frozen", journal=journal):
            os.kill(child.pid, signal.SIGSTOP)
            with Files(table.parent, journal).overwritten(table, b"struck", "struck"):
                scratch = table.parent / "scratch"
                scratch.mkdir()
                with leased(RemoveFolder.of(scratch), what="a folder", journal=journal):
                    pass
        keeping.keeper().close()
    except FaultError:  # a fault that cannot be guarded does not go in
        return REFUSED
    return SURVIVED


def in_a_fork(act: Callable[[], int]) -> int:
    pid = os.fork()
    if not pid:
        status = 9
        try:
            status = act()
        finally:
            sys.settrace(None)
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def watched(at: Callable[[int, Line], object], act: Callable[[], int]) -> int:
    """Call `at` with the number and the place of every line of `premortem.faults` that `act` executes."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.startswith(OURS):
            return None
        if event == "line":
            seen += 1
            at(seen, (frame.f_code.co_filename, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        return act()
    finally:
        sys.settrace(None)


def points(folder: Path, act: Callable[[], int]) -> list[int]:
    """The numbers of the first and of the last time of every line of a clean run."""
    told = folder / "lines"

    def record() -> int:
        with told.open("w") as file:
            return watched(lambda number, line: file.write(f"{number} {line[0]}:{line[1]}\n"), act)

    assert in_a_fork(record) == SURVIVED
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for row in told.read_text().splitlines():
        number, _, line = row.partition(" ")
        first.setdefault(line, int(number))
        last[line] = int(number)
    return sorted({*first.values(), *last.values()})


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def assert_healed(journal: Path, step: int) -> None:
    """A watchdog may be at it at the same time, or none was there yet: then a line in the journal is all there is."""
    failed = [one for one in heal(journal) if one.stays]
    assert not failed, f"point {step}: {failed}"
    assert heal(journal) == (), f"point {step}"


def make_room(table: Path) -> None:
    """A folder that was made and not yet leased is no fault of ours."""
    if (table.parent / "scratch").exists():
        (table.parent / "scratch").rmdir()


def left_in(child: Child, table: Path) -> str:
    """What of the faults is still in, empty for nothing."""
    try:
        content = table.read_bytes()
    except FileNotFoundError:
        return "the file"
    if content != BEFORE:
        return "the file"
    if stopped(child.pid):
        return "the process"
    return ""


def die(*, with_the_watchdog: bool) -> None:
    keeper = keeping._keeper
    if with_the_watchdog and keeper and keeper._process and not keeper._process.returncode:
        os.kill(keeper._process.pid, signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("both", [False, True], ids=["the controller", "the controller and its watchdog"])
def test_killed_at_every_line_nothing_is_left_in(
    child: Child, table: Path, journal: Path, eventually: Eventually, both: bool
) -> None:
    def act() -> int:
        return control(child, table, journal)

    steps = points(table.parent.parent, act)
    assert len(steps) > 150
    for step in steps[::STRIDE]:
        make_room(table)

        def at(number: int, _: Line, step: int = step) -> None:
            if number == step:
                die(with_the_watchdog=both)

        status = in_a_fork(lambda at=at: watched(at, act))  # type: ignore[misc]  # at is bound for each point
        assert status == -signal.SIGKILL, f"point {step}: {status}"
        if not both:
            eventually(lambda: not left_in(child, table))
        assert_healed(journal, step)
        eventually(lambda: not left_in(child, table))
    assert [path for path in journal.rglob("*") if path.is_file() and path.parent.name != "aside"] == []


def test_a_watchdog_killed_at_every_line_leaves_it_to_its_owner(
    child: Child, table: Path, journal: Path, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, ended = 0, False
    while not ended:
        step += 7 * STRIDE  # its loop is short: every line of it is met at some turn
        monkeypatch.setattr(keeping, "_START", WATCHDOG_DIES.format(ours=OURS, step=step))
        status = in_a_fork(lambda: control(child, table, journal))
        assert status in (SURVIVED, REFUSED), f"point {step}: {status}"
        assert_healed(journal, step)
        eventually(lambda: not left_in(child, table))
        assert not (table.parent / "scratch").exists() or status == REFUSED
        make_room(table)
        ended = step > 2000
