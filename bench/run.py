"""Measures premortem beside its peers in one run, and prints BENCHMARKS.md: `make bench`.

Every comparison is interleaved (ours, theirs, ours, theirs ...), since the speed of a machine drifts; what is quoted
is the median, with the spread beside it, and the ratio of the medians.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from premortem.servers.pool import Servers

BIN = Path(sys.executable).parent
ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / "shared" / "data" / "online_retail.xlsx"
PANDAS = """
import sys, pandas, sqlalchemy
frame = pandas.read_excel(sys.argv[1], engine="openpyxl")
engine = sqlalchemy.create_engine(sys.argv[2].replace("postgresql://", "postgresql+psycopg://"))
frame.to_sql("raw_transactions", engine, if_exists="replace", index=False)
"""
# Each is written by a command of its own.
ELSEWHERE = (
    ("policies beside tenacity and others", "docs/policies/benchmarks.md", "bench-policies"),
    ("proxy and sweep beside socat, nginx, haproxy", "docs/faults/benchmarks.md", "bench-faults"),
    ("the retail pipeline beside COPY, dlt, pandas", "docs/retail-benchmarks.md", "bench-retail"),
    ("the outbox beside its peers", "docs/durable/outbox-benchmarks.md", "bench-outbox"),
)


@dataclass
class Timed:
    """Wall-clock seconds of one command's runs."""

    name: str
    command: Sequence[str]
    runs: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.runs)

    def row(self, base: float) -> str:
        """One line of a table; the ratio is to `base` seconds."""
        spread = f"{min(self.runs):.3f} to {max(self.runs):.3f}"
        return f"| {self.name} | {self.median:.3f} | {spread} | {self.median / base:.2f} |"


def interleaved(timed: Sequence[Timed], rounds: int, environment: Mapping[str, str], folder: Path) -> None:
    """Run each command once a round, after one round that does not count where there are several."""
    for number in range(rounds + 1 if rounds > 2 else rounds):  # noqa: PLR2004 - a warm-up that costs a minute is none
        for one in timed:
            began = time.perf_counter()
            subprocess.run(one.command, check=True, capture_output=True, env=dict(environment), cwd=folder)
            if number or rounds <= 2:  # noqa: PLR2004 - as above
                one.runs.append(time.perf_counter() - began)


def table(timed: Sequence[Timed], base: Timed, rounds: int) -> str:
    """A table of runs, with ratios to `base`."""
    head = f"| what | median s of {rounds} | spread s | ratio |\n| --- | ---: | ---: | ---: |\n"
    return head + "\n".join(one.row(base.median) for one in timed) + "\n"


def gallery(folder: Path) -> str:
    """The wall time of the museum."""
    ours = Timed(
        "`premortem prove` (gallery `ingest`, ten exhibits)", [str(BIN / "premortem"), "prove", "ingest", "-q"]
    )
    interleaved([ours], 5, os.environ, folder)
    return (
        "## The gallery's wall time\n\n"
        "Goal: under 15 s on two cores. Servers, 20 processes and the HTML report are included.\n\n"
        + table([ours], ours, 5)
    )


def start_up(folder: Path) -> str:
    """How long a command takes to say anything."""
    pytest = Timed("`pytest --version`", [str(BIN / "pytest"), "--version"])
    timed = [
        Timed("`premortem --help`", [str(BIN / "premortem"), "--help"]),
        Timed("`premortem list`", [str(BIN / "premortem"), "list"]),
        pytest,
        Timed("`chaos --help`", [str(BIN / "chaos"), "--help"]),
        Timed("`python -c pass`", [sys.executable, "-c", "pass"]),
    ]
    interleaved(timed, 15, os.environ, folder)
    return (
        "## Start-up\n\n"
        "Goal: `premortem --help` and `premortem list` faster than both peers. Ratios to `pytest --version`.\n\n"
        + table(timed, pytest, 15)
    )


def ingest(folder: Path) -> str:
    """A workbook into PostgreSQL, beside what tutorials do."""
    workbook = REAL if REAL.exists() else folder / "generated.xlsx"
    rows = "541,909 rows, the real workbook"
    if workbook != REAL:
        from premortem.systems.retail.sample import write_sample  # noqa: PLC0415 - not needed where the real one is

        write_sample(workbook, rows=100_000, seed=1)
        rows = "100,000 generated rows"
    with Servers() as servers:
        url = servers.postgres().admin_url
        environment = {**os.environ, "PREMORTEM_POSTGRES_URL": url}
        ours = Timed(
            "`premortem retail ingest` (validates, keeps dead letters)",
            [str(BIN / "premortem"), "retail", "ingest", str(workbook), "--again"],
        )
        theirs = Timed(
            "pandas + openpyxl + `to_sql` (does neither)", [sys.executable, "-c", PANDAS, str(workbook), url]
        )
        interleaved([ours, theirs], 2, environment, folder)
    return f"## Ingest of {rows}\n\nGoal: 10 times faster. Ratios to ours.\n\n" + table([ours, theirs], ours, 2)


def head() -> str:
    """Where and with what it was measured."""
    names = (
        "premortem",
        "polars",
        "fastexcel",
        "psycopg",
        "pandas",
        "openpyxl",
        "sqlalchemy",
        "pytest",
        "chaostoolkit",
    )
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    return (
        "# Benchmarks\n\n"
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores. {versions}.\n\n"
        "Whole processes, wall clock, interleaved, medians. Machines differ and drift: trust the ratios of one run.\n"
    )


def elsewhere() -> str:
    """Where the other figures are."""
    rows = (f"| {what} | [{page}]({page}) | `make {target}` |" for what, page, target in ELSEWHERE)
    return "\n".join(("## Elsewhere\n", "| what | page | command |", "| --- | --- | --- |", *rows, ""))


def main() -> None:
    """Measure everything; the page goes to standard output."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as users run it: compiled once
    with tempfile.TemporaryDirectory(prefix="premortem-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o755)  # servers of ours run as another user where we are root
        parts = [head(), gallery(folder), start_up(folder), ingest(folder), elsewhere()]
    sys.stdout.write("\n".join(parts))


if __name__ == "__main__":
    main()
