"""Leases: out at the end of the block, in time, when the owner dies, and never by a fork."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from premortem.errors import ConfigurationError, FaultError
from premortem.events import Event
from premortem.faults.files import Files
from premortem.faults.leases import lease_journal
from premortem.faults.leases.identity import Owner
from premortem.faults.leases.keeper import keeper
from premortem.faults.leases.lease import leased
from premortem.faults.leases.undo import Continue, PutBack, RestoreLimit

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

Child = subprocess.Popen[bytes]
Eventually = Callable[[Callable[[], bool]], None]


class MishapError(Exception):
    """Whatever may happen in the block."""


def stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def freeze(child: Child) -> None:
    os.kill(child.pid, signal.SIGSTOP)  # not by Popen, which a fork cannot use for its parent's children
    while not stopped(child.pid):
        pass


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def lines(journal: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in lease_journal.file_of(journal, Owner.me()).read_text().splitlines()]


def in_a_fork(act: Callable[[], object]) -> int:
    """Run it in a fork of this process; its exit status, 9 for any exception."""
    pid = os.fork()
    if not pid:
        status = 9
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_it_is_out_when_the_block_ends_however_it_ends(child: Child, journal: Path, eventually: Eventually) -> None:
    with suppress(MishapError), leased(Continue.of(child.pid), what="the worker is frozen", journal=journal):
        freeze(child)
        assert [next(iter(line)) for line in lines(journal)] == ["owner", "open"]
        raise MishapError
    eventually(lambda: not stopped(child.pid))
    assert lines(journal)[-1] == {
        "done": lines(journal)[1]["open"],
        "by": "owner",
        "said": f"process {child.pid} goes on",
    }


def test_it_stands_in_the_journal_and_with_the_watchdog_before_it_goes_in(child: Child, journal: Path) -> None:
    with leased(Continue.of(child.pid), what="the worker is frozen", journal=journal) as lease:
        assert lines(journal)[-1]["what"] == "the worker is frozen"
        assert not lease.expired
        assert keeper().pid


def test_it_is_out_when_its_time_is_up_and_that_is_an_error(
    child: Child, journal: Path, eventually: Eventually, heard: list[Event]
) -> None:
    def outlast_it() -> None:
        with leased(Continue.of(child.pid), what="frozen", ttl_s=0.5, journal=journal) as lease:
            freeze(child)
            eventually(lambda: lease.expired)

    with pytest.raises(FaultError, match=r"taken out after 0.5 s, before its block ended"):
        outlast_it()
    eventually(lambda: not stopped(child.pid))
    assert [event.name for event in heard] == ["fault.expired"]


def test_its_time_may_be_meant_to_end(child: Child, journal: Path, eventually: Eventually) -> None:
    with leased(Continue.of(child.pid), what="frozen", ttl_s=0.5, journal=journal, may_expire=True) as lease:
        freeze(child)
        eventually(lambda: lease.expired)
        eventually(lambda: not stopped(child.pid))


@pytest.mark.parametrize("ending", ["the block ends", "its owner dies"])
def test_a_fault_that_goes_in_after_its_time_is_out_at_the_end(
    child: Child, table: Path, journal: Path, eventually: Eventually, ending: str
) -> None:
    before = table.read_bytes()

    def be_late() -> None:
        undo = PutBack.keep(table, table.parent, journal / "kept")
        with (
            leased(Continue.of(child.pid), what="frozen", ttl_s=0.01, journal=journal, may_expire=True) as lease,
            leased(undo, what="overwritten", ttl_s=0.01, journal=journal, may_expire=True) as other,
        ):
            eventually(lambda: lease.expired and other.expired)
            freeze(child)
            table.write_bytes(b"late")
            if ending == "its owner dies":
                os.kill(os.getpid(), signal.SIGKILL)

    in_a_fork(be_late)
    eventually(lambda: not stopped(child.pid) and table.read_bytes() == before)


def test_what_went_wrong_in_the_block_is_not_hidden_by_its_time(
    child: Child, journal: Path, eventually: Eventually
) -> None:
    undo = Continue.of(child.pid)
    with suppress(MishapError), leased(undo, what="frozen", ttl_s=0.01, journal=journal) as lease:
        eventually(lambda: lease.expired)
        raise MishapError


@pytest.mark.parametrize("ttl_s", [0, -1, 86_401, float("nan"), float("inf")])
def test_every_lease_has_an_end(child: Child, journal: Path, ttl_s: float) -> None:
    with (
        pytest.raises(ConfigurationError, match="above 0"),
        leased(Continue.of(child.pid), what="frozen", ttl_s=ttl_s, journal=journal),
    ):
        pytest.fail("it went in")


def test_leases_end_in_the_opposite_order(table: Path, journal: Path) -> None:
    files = Files(table.parent, journal)
    before = table.read_bytes()
    with files.overwritten(table, b"first", "first"), files.overwritten(table, b"second", "second"):
        assert table.read_bytes() == b"second"
    assert table.read_bytes() == before
    assert list((journal / "kept").iterdir()) == []


@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "sys.exit", "os._exit"])
def test_it_is_out_when_its_owner_dies(
    child: Child, table: Path, journal: Path, eventually: Eventually, ending: str
) -> None:
    before = table.read_bytes()
    end = f"os.kill(os.getpid(), signal.{ending})" if ending.startswith("SIG") else f"{ending}(0)"
    script = f"""
import os, signal, sys
from pathlib import Path
from premortem.faults.files import Files
from premortem.faults.leases.lease import leased
from premortem.faults.leases.undo import Continue

table, journal = Path({str(table)!r}), Path({str(journal)!r})
with leased(Continue.of({child.pid}), what="frozen", journal=journal):
    os.kill({child.pid}, signal.SIGSTOP)
    files = Files(table.parent, journal)
    with files.overwritten(table, b"1", "1"), files.overwritten(table, b"2", "2"), files.removed(table):
        {end}
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    eventually(lambda: not list(journal.glob("*.jsonl")))
    assert table.read_bytes() == before
    eventually(lambda: not stopped(child.pid))
    assert list((journal / "kept").iterdir()) == []


def test_a_fork_undoes_nothing_of_its_parent_s(child: Child, journal: Path, eventually: Eventually) -> None:
    block = leased(Continue.of(child.pid), what="frozen", journal=journal)
    with block as lease:
        freeze(child)
        assert in_a_fork(lambda: block.__exit__(None, None, None)) == 0
        assert in_a_fork(keeper().close) == 0
        assert stopped(child.pid)
        assert not lease.expired
    eventually(lambda: not stopped(child.pid))


def test_a_fork_that_holds_on_does_not_keep_its_parent_s_faults_in(
    child: Child, journal: Path, eventually: Eventually
) -> None:
    """The death pipe is not handed down: the watchdog sees the parent's end while the fork lives."""

    def die_before_a_fork_does() -> None:
        with leased(Continue.of(child.pid), what="frozen", journal=journal):
            freeze(child)
            if not os.fork():
                signal.pause()
            os.kill(os.getpid(), signal.SIGKILL)

    fork = os.fork()
    if not fork:
        os.setpgid(0, 0)
        die_before_a_fork_does()
    os.waitpid(fork, 0)
    eventually(lambda: not stopped(child.pid))
    os.killpg(fork, signal.SIGKILL)


def test_a_lease_in_a_fork_has_a_watchdog_of_its_own(child: Child, journal: Path, eventually: Eventually) -> None:
    def leave_it_in() -> None:
        with leased(Continue.of(child.pid), what="frozen", journal=journal):
            freeze(child)
            os._exit(5)

    with leased(Continue.of(child.pid), what="ours", journal=journal) as ours:
        assert in_a_fork(leave_it_in) == 5
        eventually(lambda: not stopped(child.pid))
        assert not ours.expired


def test_a_killed_watchdog_is_replaced_and_takes_over_what_is_in(
    child: Child, table: Path, journal: Path, eventually: Eventually
) -> None:
    def die_after_the_watchdog() -> None:
        with Files(table.parent, journal).removed(table):
            os.kill(keeper().pid, signal.SIGKILL)
            with leased(Continue.of(child.pid), what="frozen", journal=journal):
                freeze(child)
                os.kill(os.getpid(), signal.SIGKILL)

    before = table.read_bytes()
    assert in_a_fork(die_after_the_watchdog) == -signal.SIGKILL
    eventually(lambda: not list(journal.glob("*.jsonl")))
    assert table.read_bytes() == before
    eventually(lambda: not stopped(child.pid))


def test_without_its_watchdog_the_owner_undoes_it_itself(child: Child, journal: Path, eventually: Eventually) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        freeze(child)
        os.kill(keeper().pid, signal.SIGKILL)
    eventually(lambda: not stopped(child.pid))
    assert lines(journal)[-1]["by"] == "owner"


def test_a_terminated_watchdog_undoes_first(child: Child, journal: Path, eventually: Eventually) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        freeze(child)
        os.kill(keeper().pid, signal.SIGTERM)
        eventually(lambda: not stopped(child.pid))


def test_ctrl_c_does_not_reach_the_watchdog(child: Child, journal: Path) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        pid = keeper().pid
        assert os.getsid(pid) == pid
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            os.kill(pid, number)
        with leased(Continue.of(child.pid), what="frozen", journal=journal):
            assert keeper().pid == pid


def test_no_journal_no_fault(child: Child, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(FaultError, match="cannot be written"),
        leased(Continue.of(child.pid), what="frozen", journal=tmp_path / "file"),
    ):
        pytest.fail("it went in")


def test_no_watchdog_no_fault(child: Child, journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with (
        pytest.raises(FaultError, match="does not start"),
        leased(Continue.of(child.pid), what="frozen", journal=journal),
    ):
        pytest.fail("it went in")
    assert "done" in lines(journal)[-1]


def test_what_cannot_be_undone_stays_in_the_journal_and_says_so(table: Path, journal: Path) -> None:
    undo = PutBack.keep(table, table.parent, journal / "kept")
    with (
        pytest.raises(FaultError, match=r"could not be taken out.*premortem heal"),
        leased(undo, what="removed", journal=journal),
    ):
        undo.forget()
    assert [entry.what for entry in lease_journal.read(lease_journal.file_of(journal, Owner.me())).left_open] == [
        "removed"
    ]


def test_a_process_without_descriptors_can_end_its_lease(journal: Path) -> None:
    me = os.getpid()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with leased(RestoreLimit.of(me, resource.RLIMIT_NOFILE), what="no descriptors", journal=journal):
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
        with pytest.raises(OSError, match="Too many open files"):
            os.dup(0)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before


def test_many_threads_share_one_watchdog(child: Child, tmp_path: Path, journal: Path) -> None:
    wrong: list[BaseException] = []

    def strike(number: int) -> None:
        path = tmp_path / f"{number}.txt"
        path.write_text("before")
        try:
            for _ in range(10):
                with Files(tmp_path, journal).overwritten(path, b"struck", "struck"):
                    assert path.read_text() == "struck"
                assert path.read_text() == "before"
        except BaseException as error:  # noqa: BLE001 - it is judged in the main thread
            wrong.append(error)

    threads = [threading.Thread(target=strike, args=(number,)) for number in range(8)]
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        pid = keeper().pid
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert keeper().pid == pid
    assert wrong == []


def test_nothing_is_left_when_the_watchdog_is_let_go(child: Child, journal: Path) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        pid = keeper().pid
    keeper().close()
    assert is_gone(pid)
    assert list(journal.glob("*")) == []


def test_an_armed_lease_is_no_strike(child: Child, journal: Path, heard: list[Event]) -> None:
    with leased(Continue.of(child.pid), what="frozen", journal=journal):
        pass
    assert heard == []
