"""Real servers, a folder that they can reach, and deadlines instead of sleeps."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from premortem.servers.account import make_temporary_folder, unprivileged
from premortem.servers.postgres import Template, make_template

Eventually = Callable[[Callable[[], bool], float], float]
Spawn = Callable[[str], "Owner"]


@pytest.fixture
def eventually() -> Eventually:
    def wait(reached: Callable[[], bool], seconds: float) -> float:
        began = time.monotonic()
        while not reached():
            assert time.monotonic() - began < seconds, f"did not happen within {seconds} s"
            time.sleep(0.005)
        return time.monotonic() - began

    return wait


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that the server's account can reach; pytest's own is closed to it when we are root."""
    folder = make_temporary_folder(unprivileged())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template() -> Iterator[Template]:
    folder = make_temporary_folder(unprivileged())
    yield make_template(folder / "template")
    shutil.rmtree(folder)


class Owner:
    """A process that owns servers; it prints one line when they are up and then waits."""

    def __init__(self, script: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        assert self.process.stdout
        self.words = self.process.stdout.readline().split()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # what it forked
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    owners: list[Owner] = []

    def start(script: str) -> Owner:
        owners.append(Owner(script))
        return owners[-1]

    yield start
    for owner in owners:
        owner.close()


@pytest.fixture
def lives() -> Callable[[int], bool]:
    def check(pid: int) -> bool:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
        stat = Path(f"/proc/{pid}/stat")  # a container's init may take seconds to bury what it inherits
        try:
            return not Path("/proc/self").exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    return check
