"""`premortem retail ingest`: one file, whole or not at all."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import click

from premortem.cli.retail.surroundings import URL, database, progress
from premortem.systems.retail.ingest import IngestReport, ingest
from premortem.systems.retail.settings import read_settings


@click.command("ingest")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--sheet", help="The sheet of a workbook. [default: the one that has the columns]")
@click.option("--again", is_flag=True, help="Load a file whose very bytes were loaded before.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON document on standard output.")
def command(file: Path, *, sheet: str | None, again: bool, as_json: bool) -> None:
    """Load FILE (xlsx, csv or parquet) into bronze.raw_transactions; rows that break a rule go to bronze.dead_letters.

    The database is that of PREMORTEM_POSTGRES_URL, or else one that is kept in .premortem/ (see `premortem db`).
    A file is loaded whole or not at all. Exit codes: 0 loaded, 1 refused, 2 usage or configuration.

    \b
    Examples:
      premortem retail ingest online_retail.xlsx
      premortem retail ingest invoices.csv --json
      psql "$(premortem db url)" -c 'SELECT rule, count(*) FROM bronze.dead_letters GROUP BY rule'
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    with database() as url, progress(quiet=as_json):
        report = ingest(file, url, settings=read_settings(url), sheet=sheet, again=again)
    if as_json:
        click.echo(json.dumps(asdict(report), indent=2))
        return
    _print(report)
    if URL not in os.environ:
        click.echo('look at it: premortem db start; psql "$(premortem db url)"')


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
