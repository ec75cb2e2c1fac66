"""`premortem db`: a PostgreSQL server whose data stays, for psql and other tools to look at."""

from __future__ import annotations

import json

import click

from premortem.servers import kept


@click.group("db")
def command() -> None:
    """Keep a PostgreSQL server whose data stays, in .premortem/postgres/ of this folder.

    `premortem retail ingest` uses it where PREMORTEM_POSTGRES_URL is not set.

    \b
    Examples:
      premortem db start
      psql "$(premortem db url)"
      premortem db stop
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"


@command.command()
def start() -> None:
    """Start it; it goes on running until `premortem db stop`."""
    status = kept.start()
    click.echo(f"PostgreSQL listens on 127.0.0.1:{status.port}, process {status.pid}; data in {status.data}")
    click.echo('look into it: psql "$(premortem db url)"')


@command.command()
def stop() -> None:
    """Stop it; the data stays."""
    click.echo("stopped; the data stays" if kept.stop() else "it does not run")


@command.command()
def url() -> None:
    """Print its URL, password included, for other tools."""
    click.echo(kept.url())


@command.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def status(*, as_json: bool) -> int:
    """Say whether it runs. Exit codes: 0 it runs, 3 it does not."""
    found = kept.status()
    if as_json:
        record = {"running": found.running, "pid": found.pid, "port": found.port, "data": str(found.data)}
        click.echo(json.dumps(record))
    elif found.running:
        click.echo(f"runs on 127.0.0.1:{found.port}, process {found.pid}; data in {found.data}")
    else:
        click.echo("does not run; `premortem db start` starts it")
    return 0 if found.running else 3
