"""`premortem retail retain`: old months out of the fact table, archived or dropped."""

from __future__ import annotations

from pathlib import Path

import click

from premortem.cli.retail.surroundings import database
from premortem.systems.retail.retention import retire


@click.command("retain")
@click.option("--days", type=click.IntRange(0), required=True, help="Months that ended longer ago are taken out.")
@click.option("--archive", type=click.Path(file_okay=False, path_type=Path), help="A folder for one Parquet file each.")
def command(*, days: int, archive: Path | None) -> None:
    """Take old months out of the fact table: to Parquet first where --archive is given, then dropped."""
    with database() as url:
        retired = retire(days, url, archive=archive)
    for one in retired:
        click.echo(f"{one.month:%Y-%m}: {one.rows:,} rows, {one.archive or 'dropped'}")
    click.echo(f"{len(retired)} months taken out")
