"""The server that stays: `premortem db`."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from premortem.errors import ConfigurationError
from premortem.servers import kept
from premortem.servers.account import unprivileged

Eventually = Callable[[Callable[[], bool], float], float]


class Owner(Protocol):
    words: list[str]

    def kill(self) -> None: ...


@pytest.fixture
def project(place: Path) -> Iterator[Path]:
    yield place
    kept.stop(place)


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS visits (id serial)")
        connection.execute("INSERT INTO visits DEFAULT VALUES")
        row = connection.execute("SELECT count(*) FROM visits").fetchone()
        assert row
        return int(row[0])


def test_it_stays_until_it_is_stopped_and_keeps_its_data(project: Path) -> None:
    assert not kept.status(project).running
    with pytest.raises(ConfigurationError, match="premortem db start"):
        kept.url(project)
    script = f"from premortem.servers import kept; print(kept.start(kept.Path({str(project)!r})).pid)"
    both = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    pids = [process.communicate()[0].strip() for process in both]
    first = kept.status(project)
    assert first.running
    assert pids == [str(first.pid)] * 2  # two starts at once are one
    assert kept.start(project) == first
    assert count(kept.url(project)) == 1
    home = project / ".premortem"
    assert (home / ".gitignore").read_text() == "*\n"
    assert stat.S_IMODE((home / "postgres.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(first.data.stat().st_mode) == 0o700
    assert kept.stop(project)
    assert not kept.stop(project)
    assert not kept.status(project).running
    assert kept.start(project).port == first.port
    assert count(kept.url(project)) == 2


def test_after_a_crash_it_starts_although_the_old_number_is_somebody_elses(
    project: Path, eventually: Eventually
) -> None:
    first = kept.start(project)
    assert count(kept.url(project)) == 1
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: not kept.status(project).running, 2)
    account = unprivileged()
    sleeper = subprocess.Popen(["sleep", "60"], user=account.uid if account else None)
    pid_file = first.data / "postmaster.pid"
    pid_file.write_text(pid_file.read_text().replace(str(first.pid), str(sleeper.pid), 1))
    assert not kept.status(project).running
    assert not kept.stop(project)
    again = kept.start(project)
    assert again.pid not in {first.pid, sleeper.pid}
    assert count(kept.url(project)) == 2
    assert sleeper.poll() is None
    sleeper.kill()
    sleeper.wait()


def test_for_the_time_of_a_command(project: Path) -> None:
    with kept.running(project) as url:
        assert count(url) == 1
        with kept.running(project) as same:
            assert same == url
        assert count(url) == 2
        assert kept.status(project).running
    assert not kept.status(project).running
    kept.start(project)
    with kept.running(project) as url:
        assert count(url) == 3
    assert kept.status(project).running


def test_a_command_that_is_killed_takes_its_server_along_and_leaves_the_data(
    project: Path, spawn: Callable[[str], Owner], eventually: Eventually
) -> None:
    owner = spawn(
        "import time\nfrom pathlib import Path\nfrom premortem.servers import kept\n"
        f"with kept.running(Path({str(project)!r})) as url:\n print(url, flush=True)\n time.sleep(60)"
    )
    assert count(owner.words[0]) == 1
    owner.kill()
    eventually(lambda: not kept.status(project).running, 3)
    with kept.running(project) as url:
        assert count(url) == 2
