"""A run that is interrupted, terminated or killed at any moment of its life leaves no process, no port and no file."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from premortem.errors import ConfigurationError
from premortem.model.journal import read

if TYPE_CHECKING:
    from tests.experiment.conftest import Place

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# Whoever started us in the background told us to ignore Ctrl-C, and what we start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SEED = 20261123
KINDS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
EARLY = {signal.SIGINT: (-2, 1), signal.SIGTERM: (-15,), signal.SIGKILL: (-9,)}  # Python itself, before us
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
LISTENING = "0A"


def moments() -> list[tuple[float, signal.Signals, bool]]:
    """Ten moments from start-up to the middle of the run, each kind in turn; one Ctrl-C goes to the whole group."""
    drawn = random.Random(SEED)
    spread = [0.05, 0.15, *(0.3 * step + drawn.uniform(0, 0.3) for step in range(1, 9))]
    return [(round(at, 2), KINDS[number % 3], number == 6) for number, at in enumerate(spread)]


def listening_ports(family: dict[int, str]) -> set[int]:
    """Ports on which any of these processes listens."""
    inodes = set()
    for pid in family:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            with suppress(OSError):
                inodes.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == LISTENING and row[9] in inodes}


def listeners() -> set[int]:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[1].partition(":")[2], 16) for row in rows if row[3] == LISTENING}


def makers_of_shared_memory() -> set[int]:
    """Who made the System V segments that are there: every PostgreSQL has one."""
    return {int(line.split()[4]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def start(place: Place, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "premortem", "prove", *arguments],
        cwd=place.folder,
        env={**os.environ, "TMPDIR": str(place.temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("at_s", "kind", "whole_group"), moments(), ids=lambda value: str(getattr(value, "name", value))
)
def test_whenever_and_however_a_run_is_ended_nothing_is_left(  # noqa: PLR0913 - three of the moment, three of the machine
    place: Place,
    find: Callable[[str], dict[int, str]],
    eventually: Callable[..., None],
    at_s: float,
    kind: signal.Signals,
    *,
    whole_group: bool,
) -> None:
    with start(place, "--quiet", "--jobs", "2", "--seed", "1") as process:
        time.sleep(at_s)  # the moment itself is what is tested; nothing waits for it
        ours = find(str(place.temporary))
        ports = listening_ports(ours)
        if whole_group:
            os.killpg(process.pid, kind)
        else:
            process.send_signal(kind)
        code = process.wait(30)
    journals = list(place.folder.glob(".premortem/runs/*/journal.jsonl"))
    assert code in ((CODES[kind],) if journals else (CODES[kind], *EARLY[kind]))
    eventually(lambda: find(str(place.temporary)), {}, 6.0)
    eventually(place.left, [], 6.0)
    assert not ports & listeners()
    for journal in journals:
        assert reads_as_cut_off(journal)


def reads_as_cut_off(journal: Path) -> bool:
    """Never a success; one that was killed in its first line is no journal, and says so."""
    try:
        run = read(journal)
    except ConfigurationError:
        return b"\n" not in journal.read_bytes()
    return run.ended != "complete" and run.exit_code == 3


def test_a_signal_during_the_way_out_still_leaves_nothing(
    place: Place, find: Callable[[str], dict[int, str]], eventually: Callable[..., None]
) -> None:
    with start(place, "--quiet", "ingest/negative-prices") as process:
        eventually(lambda: any("postgres" in seen for seen in find(str(place.temporary)).values()), wanted=True)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 143
    eventually(lambda: find(str(place.temporary)), {}, 6.0)
    eventually(place.left, [], 6.0)


def test_a_run_that_is_killed_while_initdb_works_leaves_no_shared_memory(
    place: Place, find: Callable[[str], dict[int, str]], eventually: Callable[..., None]
) -> None:
    def makers() -> set[int]:
        working = {pid for pid, seen in find(str(place.temporary)).items() if "--single" in seen}
        return makers_of_shared_memory() & working

    def files() -> set[Path]:
        return set(Path("/dev/shm").glob("PostgreSQL.*"))

    before = files()
    with start(place, "--quiet", "ingest/negative-prices") as process:
        eventually(lambda: bool(makers()), wanted=True)
        ours = makers()
        process.kill()
    eventually(lambda: find(str(place.temporary)), {}, 6.0)
    eventually(lambda: makers_of_shared_memory() & ours, set(), 1.0)
    left = files() - before  # some may be of an initdb that another test runs: those go with it
    eventually(lambda: left & files(), set(), 6.0)


def test_a_run_that_ends_by_itself_leaves_its_record_alone(place: Place, find: Callable[[str], dict[int, str]]) -> None:
    with start(place, "--quiet", "ingest/missing-file") as process:
        assert process.wait(30) == 0
    assert find(str(place.temporary)) == {}
    assert place.left() == []
    (record,) = place.folder.glob(".premortem/runs/*/journal.jsonl")
    assert read(record).exit_code == 0
    shutil.rmtree(place.folder / ".premortem")
    assert sorted(path.name for path in place.folder.iterdir()) == ["t"]
