"""Rows that need what this machine has not are skipped with the reason; leases are written where the test is."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from premortem.events import Event
from premortem.faults import needs
from premortem.faults.leases.lease_journal import FOLDER_VARIABLE

Struck = Callable[[], list[tuple[str, str]]]
Eventually = Callable[[Callable[[], bool]], None]
_PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def _leases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "leases"))


@pytest.fixture(autouse=True)
def _needed(request: pytest.FixtureRequest) -> None:
    for name in getattr(request.module, "NEEDS", ()):
        if reason := needs.why_not(name):
            pytest.skip(f"{name}: {reason}")


@pytest.fixture
def told(heard: list[Event]) -> Struck:
    """What was struck and lifted, in order: ("struck", "disk full")."""

    def pairs() -> list[tuple[str, str]]:
        return [(event.name.removeprefix("fault."), str(event.get("fault"))) for event in heard]

    return pairs


@pytest.fixture
def eventually() -> Eventually:
    def wait(reached: Callable[[], bool]) -> None:
        until = time.monotonic() + _PATIENCE_S
        while not reached():
            assert time.monotonic() < until, f"did not happen within {_PATIENCE_S} s"
            time.sleep(0.002)

    return wait
