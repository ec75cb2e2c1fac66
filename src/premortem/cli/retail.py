"""`premortem retail`: the reference system's commands."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click

from premortem.events import Event, listening
from premortem.systems.retail.ingest import IngestReport, ingest
from premortem.systems.retail.retention import retire
from premortem.systems.retail.run import run
from premortem.systems.retail.settings import read_settings
from premortem.systems.retail.status import status
from premortem.systems.retail.tasks import FileReport, Sameness
from premortem.systems.retail.transform import Layer, Span, StepReport, transform

_URL = "PREMORTEM_POSTGRES_URL"
_LAYERS: dict[str, tuple[Layer, ...]] = {"silver": ("silver",), "gold": ("silver", "gold")}


@click.group("retail")
def command() -> None:
    """The retail reference system: invoices into PostgreSQL, every row accounted for."""


@command.command("ingest")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--sheet", help="The sheet of a workbook. [default: the one that has the columns]")
@click.option("--again", is_flag=True, help="Load a file whose very bytes were loaded before.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON document on standard output.")
def ingest_file(file: Path, *, sheet: str | None, again: bool, as_json: bool) -> None:
    """Load FILE (xlsx, csv or parquet) into bronze.raw_transactions; rows that break a rule go to bronze.dead_letters.

    The database is that of PREMORTEM_POSTGRES_URL, or else one that is kept in .premortem/ (see `premortem db`).
    A file is loaded whole or not at all. Exit codes: 0 loaded, 1 refused, 2 usage or configuration.

    \b
    Examples:
      premortem retail ingest online_retail.xlsx
      premortem retail ingest invoices.csv --json
      psql "$(premortem db url)" -c 'SELECT rule, count(*) FROM bronze.dead_letters GROUP BY rule'
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    with _database() as url, _progress(quiet=as_json):
        report = ingest(file, url, settings=read_settings(url), sheet=sheet, again=again)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    _print(report)
    if _URL not in os.environ:
        click.echo('look at it: premortem db start; psql "$(premortem db url)"')


@command.command("run")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--by",
    type=click.Choice(["file", "content"]),
    default="file",
    show_default=True,
    help="What makes rows the same: the file they came in, or their values.",
)
@click.option(
    "--through",
    type=click.Choice(["bronze", "silver", "gold"]),
    default="bronze",
    show_default=True,
    help="How far: the rows, the star, the marts.",
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Files loaded at once.")
@click.option("--sheet", help="The sheet of a workbook. [default: the one that has the columns]")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON document on standard output.")
def run_files(  # noqa: PLR0913 - an option each
    files: tuple[Path, ...], *, by: Sameness, through: str, workers: int, sheet: str | None, as_json: bool
) -> None:
    """Load FILES chunk by chunk, exactly once: what was cut off goes on where it was, what was loaded is left alone.

    Several runs may be given the same files at once. Exit codes: 0 all files are loaded, 1 some are not, 2 usage or
    configuration.

    \b
    Examples:
      premortem retail run january.csv february.xlsx --workers 2
      premortem retail run online_retail.csv --through gold
      premortem retail run another_export.csv --by content
    """  # noqa: D301 - as above
    with _database() as url, _progress(quiet=as_json):
        report = run(files, url, read_settings(url), sheet=sheet, by=by, workers=workers)
        steps = transform(url, layers=_LAYERS[through]) if through in _LAYERS and not report.failed else ()
    if as_json:
        click.echo(json.dumps({**asdict(report), "steps": [asdict(step) for step in steps]}, indent=2, default=str))
    else:
        for file in report.files:
            _print_file(file)
        _print_steps(steps)
    sys.exit(1 if report.failed else 0)


@command.command("transform")
@click.option(
    "--scd",
    type=click.Choice(["1", "2"]),
    default="1",
    show_default=True,
    help="Descriptions of products: 1 overwrites them, 2 keeps their history.",
)
@click.option("--rebuild", is_flag=True, help="Throw the star away first; needed to change --scd.")
def transform_layers(*, scd: str, rebuild: bool) -> None:
    """Make the star (schema silver) and the marts (schema gold) anew, as far as bronze has changed."""
    with _database() as url:
        _print_steps(transform(url, scd=1 if scd == "1" else 2, rebuild=rebuild))


@command.command("backfill")
@click.argument("first", type=click.DateTime(["%Y-%m-%d", "%Y-%m"]))
@click.argument("last", type=click.DateTime(["%Y-%m-%d", "%Y-%m"]))
def backfill(first: datetime, last: datetime) -> None:
    """Make the months from that of FIRST to that of LAST anew from bronze, and the marts with them."""
    with _database() as url:
        _print_steps(transform(url, span=Span(first.date(), last.date())))


@command.command("retain")
@click.option("--days", type=click.IntRange(0), required=True, help="Months that ended longer ago are taken out.")
@click.option("--archive", type=click.Path(file_okay=False, path_type=Path), help="A folder for one Parquet file each.")
def retain(*, days: int, archive: Path | None) -> None:
    """Take old months out of the fact table: to Parquet first where --archive is given, then dropped."""
    with _database() as url:
        retired = retire(days, url, archive=archive)
    for one in retired:
        click.echo(f"{one.month:%Y-%m}: {one.rows:,} rows, {one.archive or 'dropped'}")
    click.echo(f"{len(retired)} months taken out")


@command.command("status")
@click.option("--verify", is_flag=True, help="Count the rows of each file, and compare the seals of its chunks.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON document on standard output.")
def show_status(*, verify: bool, as_json: bool) -> None:
    """Which files are loaded, how far, and by whom. Exit code 1 where --verify finds something wrong."""
    with _database() as url:
        found = status(url, verify=verify)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, default=str))
    else:
        for file in found.files:
            state = "complete" if file.complete else "being loaded" if file.working else "cut off: run it again"
            click.secho(f"batch {file.batch}  {file.source}: {state}", bold=True)
            known = f" + {file.known:,} known" if file.known else ""
            click.echo(f"  {file.read:,} read = {file.loaded:,} loaded + {file.dead:,} dead-lettered{known}")
            click.echo(f"  {file.chunks} chunks, last by {file.owner} at {file.changed_at:%Y-%m-%d %H:%M:%S %Z}")
        for batch in found.wrong:
            click.secho(f"batch {batch}: what is there is not what was counted; run its file again", fg="red")
        if not found.files:
            click.echo("nothing is loaded")
    sys.exit(1 if found.wrong else 0)


@contextmanager
def _database() -> Iterator[str | None]:
    """The user's own where one is named; else the kept one, running at least for this block."""
    if _URL in os.environ:
        yield None
        return
    from premortem.servers import kept  # noqa: PLC0415 - not needed where the user has a server

    with kept.running() as url:
        yield url


@contextmanager
def _progress(*, quiet: bool) -> Iterator[None]:
    """A bar on a terminal; nothing anywhere else, where the summary says it all."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.progress import (  # noqa: PLC0415 - a tenth of a second, for a terminal alone
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from premortem.report import terminal  # noqa: PLC0415 - as above

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.console(sys.stderr), transient=True) as progress:
        task = progress.add_task("reading the file", total=None)

        def show(event: Event) -> None:
            if event.name in _STEPS:
                total, done = event.get("total"), event.get("rows")
                shown = float(total) if isinstance(total, int) else None
                progress.update(task, description=_STEPS[event.name], total=shown, completed=float(done or 0))
            elif event.name == "retail.chunk":
                share = float(event.get("share") or 0)
                progress.update(task, description=str(event.get("source"))[:22], total=1, completed=share)

        with listening(show):
            yield


_STEPS = {
    "retail.read": "checking the rules",
    "retail.sorted": "loading",
    "retail.loaded": "loading",
    "retail.dead_lettered": "keeping dead letters",
    "retail.committed": "committed",
}


def _print(report: IngestReport) -> None:
    seconds = report.seconds
    click.secho(f"{report.source}: {report.read:,} rows read", bold=True)
    click.echo(f"  loaded         {report.loaded:>9,}  in bronze.raw_transactions, batch {report.batch}")
    click.echo(f"  dead-lettered  {report.dead:>9,}  in bronze.dead_letters")
    for rule, count in report.dead_by_rule:
        click.echo(f"    {rule:<24} {count:>9,}")
    click.echo(f"  {report.read:,} read = {report.loaded:,} loaded + {report.dead:,} dead-lettered")
    for warning in report.warnings:
        click.secho(f"  warning: {warning}", fg="yellow")
    click.echo(f"  {seconds.total:.2f} s: read {seconds.read:.2f}, rules {seconds.sort:.2f}, load {seconds.load:.2f}")


def _print_file(file: FileReport) -> None:
    if file.state == "failed":
        click.secho(f"{file.source}: not loaded", bold=True, fg="red")
        click.echo(f"  {file.error}")
        return
    said = {"known": "loaded before, nothing to do", "loaded": "resumed and loaded" if file.resumed else "loaded"}
    click.secho(f"{file.source}: {said[file.state]}, batch {file.batch}", bold=True)
    known = f" + {file.known:,} known" if file.known else ""
    click.echo(f"  {file.read:,} read = {file.loaded:,} loaded + {file.dead:,} dead-lettered{known}")
    for warning in file.warnings:
        click.secho(f"  warning: {warning}", fg="yellow")
    click.echo(f"  {file.seconds:.2f} s, {file.chunks} chunks")


def _print_steps(steps: Sequence[StepReport]) -> None:
    for step in steps:
        months = f", {len(step.months)} months made anew" if step.step == "silver" else ""
        click.echo(f"{step.step}: {step.statements} statements{months}, {step.seconds:.2f} s")
