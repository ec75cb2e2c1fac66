"""We sweep ourselves by system calls: at each of its own the controller, or its watchdog, is killed, or told a lie.

When `syscalls.run` is back, the whole family is dead, the watchdog too: so this is the sweep of the journal, and of
`premortem heal` as the last of the three that undo. `test_killed_at_every_line.py` has the other two.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from premortem.errors import FaultError
from premortem.faults import syscalls
from premortem.faults.files import Files
from premortem.faults.leases.heal import heal
from premortem.faults.leases.keeper import keeper
from premortem.faults.leases.lease import leased
from premortem.faults.leases.undo import Continue
from premortem.faults.syscalls import GO, Decision, Fail, Kill, Operation, Short

pytestmark = pytest.mark.skipif(bool(syscalls.why_not()), reason=syscalls.why_not())

Child = subprocess.Popen[bytes]
BEFORE = b"id,price\n1,2.55\n"
SURVIVED, REFUSED = 0, 3


@dataclass(frozen=True)
class Strike:
    effect: Decision
    onward: bool = False


STRIKES = {
    "killed": Strike(Kill()),
    "killed from then on": Strike(Kill(), onward=True),  # the watchdog, too, at its next call
    "input/output error": Strike(Fail(errno.EIO)),
    "disk full from then on": Strike(Fail(errno.ENOSPC), onward=True),
    "cut short": Strike(Short()),
}


@pytest.fixture
def control(child: Child, table: Path, journal: Path) -> Callable[[], int]:
    """The controller: it freezes a process and strikes a file. It may fail, and only as a fault or a disk does."""

    def act() -> int:
        try:
            with leased(Continue.of(child.pid), what="frozen", journal=journal):
                os.kill(child.pid, signal.SIGSTOP)
                with Files(table.parent, journal).overwritten(table, b"struck", "struck"):
                    pass
            keeper().close()
        except (FaultError, OSError):
            os._exit(REFUSED)
        os._exit(SURVIVED)

    return act


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("strike", STRIKES.values(), ids=STRIKES)
def test_at_every_call_of_its_own_nothing_is_left_in(
    child: Child, table: Path, journal: Path, control: Callable[[], int], strike: Strike
) -> None:
    clean = syscalls.run(control, watch=("file",))
    assert clean.status == SURVIVED, clean.output
    assert len({operation.process for operation in clean.operations}) == 2, "the watchdog is swept, too"
    for point, there in enumerate(clean.operations):
        if not syscalls.can_strike(strike.effect, there):
            continue

        def decide(operation: Operation, point: int = point) -> Decision:
            nth = operation.index - clean.operations[0].index
            hit = nth >= point if strike.onward else nth == point
            return strike.effect if hit and syscalls.can_strike(strike.effect, operation) else GO

        ended = syscalls.run(control, decide, watch=("file",))
        struck = f"{strike} at {there}: {ended.status} {ended.output}"
        assert ended.struck, struck
        assert not ended.timed_out, struck
        assert ended.status in (SURVIVED, REFUSED, -signal.SIGKILL), struck
        assert [one for one in heal(journal) if one.stays] == [], struck
        assert table.read_bytes() == BEFORE, struck
        assert not stopped(child.pid), struck
