"""`premortem retail withdraw`: the way back from a file that was wrong, or that came in part."""

from __future__ import annotations

import click

from premortem.cli.retail.surroundings import database
from premortem.systems.retail.withdraw import withdraw


@click.command("withdraw")
@click.argument("batches", metavar="BATCH...", nargs=-1, required=True, type=click.IntRange(1))
def command(batches: tuple[int, ...]) -> None:
    """Take each BATCH out of bronze again, rows, dead letters and progress: all of them, or none.

    Its number is in `premortem retail status`. The next `premortem retail transform` makes the months anew in which it
    had rows.
    """
    with database() as url:
        for one in withdraw(batches, url):
            click.echo(f"batch {one.batch}  {one.source}: {one.loaded:,} rows and {one.dead:,} dead letters taken out")
    click.echo("`premortem retail transform` makes star and marts anew without them")
