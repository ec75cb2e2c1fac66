"""Where the records of runs lie, and which of them is meant."""

from __future__ import annotations

from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.experiment.record import JOURNAL

RUNS = Path(".premortem/runs")


def find(name: str) -> Path:
    """The journal of a run: by its id, the beginning of it, `last`, or a path to a journal or its folder."""
    path = Path(name)
    if path.is_file():
        return path
    if (path / JOURNAL).is_file():
        return path / JOURNAL
    known = newest_first()
    if not known:
        raise ConfigurationError(f"{name}: no run is recorded in {RUNS}; `premortem prove` makes one")
    found = known[:1] if name == "last" else [run for run in known if run.parent.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    what = "stands for several runs" if found else "is no run"
    names = ", ".join(run.parent.name for run in (found or known)[:5])
    raise ConfigurationError(f"{name}: {what}; name one of {names}, `last`, or a path to a journal")


def newest_first() -> list[Path]:
    """The journals of all recorded runs."""
    return sorted(RUNS.glob(f"*/{JOURNAL}"), key=lambda path: path.parent.name, reverse=True)
