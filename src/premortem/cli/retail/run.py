"""`premortem retail run`: files chunk by chunk, exactly once, and on to the star and the marts."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from premortem.cli.retail.steps import print_steps
from premortem.cli.retail.surroundings import database, progress
from premortem.systems.retail.run import run
from premortem.systems.retail.settings import read_settings
from premortem.systems.retail.tasks import FileReport, Sameness

if TYPE_CHECKING:
    from premortem.systems.retail.transform import StepReport


@click.command("run")
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
def command(  # noqa: PLR0913 - an option each
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
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    with database() as url, progress(quiet=as_json):
        report = run(files, url, read_settings(url), sheet=sheet, by=by, workers=workers)
        steps = () if through == "bronze" or report.failed else _transformed(url, through)
    if as_json:
        click.echo(json.dumps({**asdict(report), "steps": [asdict(step) for step in steps]}, indent=2, default=str))
    else:
        for file in report.files:
            _print_file(file)
        print_steps(steps)
        if through != "bronze" and report.failed:
            click.secho(f"{through}: not made, since not all files are loaded", fg="red")
    sys.exit(1 if report.failed else 0)


def _transformed(url: str | None, through: str) -> tuple[StepReport, ...]:
    from premortem.systems.retail.transform import transform  # noqa: PLC0415 - loading, all that most want, has no use of it

    return transform(url, layers=("silver",) if through == "silver" else ("silver", "gold"))


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
    click.echo(f"  {file.seconds:.2f} s, {file.chunks} chunk{'' if file.chunks == 1 else 's'}")
