"""`premortem retail retain`: old months out of the fact table, archived or dropped."""

from __future__ import annotations

from pathlib import Path

import click

from premortem.cli.retail.surroundings import database
from premortem.events import Event, listening
from premortem.systems.retail.retention import retire


@click.command("retain")
@click.option("--days", type=click.IntRange(0), required=True, help="Months that ended longer ago are taken out.")
@click.option("--archive", type=click.Path(file_okay=False, path_type=Path), help="A folder for one Parquet file each.")
def command(*, days: int, archive: Path | None) -> None:
    """Take old months out of the fact table: to Parquet first where --archive is given, then dropped.

    They stay out. A month of which bronze has lines that the marts have not is refused: transform first.
    """

    def show(event: Event) -> None:  # at once, each being a transaction: the next month may fail
        if event.name == "retail.retired":
            out = event.get("archive") or "dropped"
            click.echo(f"{str(event.get('month'))[:7]}: {event.get('rows'):,} rows, {out}")

    with database() as url, listening(show):
        retired = retire(days, url, archive=archive)
    click.echo(f"{len(retired)} months taken out")
