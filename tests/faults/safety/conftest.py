"""Processes to strike, a folder with a file, and deadlines instead of sleeps."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from premortem.faults.leases.keeper import keeper

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def eventually() -> Eventually:
    def wait(reached: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not reached():
            assert time.monotonic() < deadline, "did not happen within 20 s"
            time.sleep(0.002)

    return wait


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process of ours that waits until it is killed, in a group of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        yield process
        process.kill()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Path]:
    """The folder of journals; the watchdog of this test is gone afterwards."""
    yield tmp_path / "faults"
    keeper().close()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A file to strike, in a folder of its own."""
    path = tmp_path / "data" / "table.csv"
    path.parent.mkdir()
    path.write_bytes(b"id,price\n1,2.55\n")
    return path
