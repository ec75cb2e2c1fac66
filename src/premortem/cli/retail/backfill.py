"""`premortem retail backfill`: some months of the star anew."""

from __future__ import annotations

from datetime import datetime

import click

from premortem.cli.retail.steps import print_steps
from premortem.cli.retail.surroundings import database
from premortem.systems.retail.transform import Span, transform


@click.command("backfill")
@click.argument("first", metavar="FIRST", type=click.DateTime(["%Y-%m-%d", "%Y-%m"]))
@click.argument("last", metavar="LAST", type=click.DateTime(["%Y-%m-%d", "%Y-%m"]))
def command(first: datetime, last: datetime) -> None:
    """Make the months from that of FIRST to that of LAST anew from bronze, and the marts with them.

    Each is a month (2010-12) or a day in it (2010-12-31).
    """
    with database() as url:
        print_steps(transform(url, span=Span(first.date(), last.date())))
