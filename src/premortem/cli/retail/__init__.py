"""`premortem retail`: the reference system's commands, imported when they are called."""

from __future__ import annotations

import click

from premortem.cli.lazy import LazyGroup

COMMANDS = {
    "run": ("retail.run", "Load files chunk by chunk, exactly once, whoever dies."),
    "status": ("retail.status", "Which files are loaded, how far, and by whom."),
    "withdraw": ("retail.withdraw", "Take a batch out again: a file that was wrong, or came in part."),
    "transform": ("retail.transform", "Make the star and the marts anew, as far as bronze has changed."),
    "backfill": ("retail.backfill", "Make some months anew from bronze."),
    "retain": ("retail.retain", "Take old months out of the fact table, to Parquet first where that is wanted."),
    "ingest": ("retail.ingest", "Load one file in one transaction: whole, or not at all."),
}


@click.group("retail", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """The retail reference system: invoices into PostgreSQL, every row accounted for."""
