"""`premortem retail status`: which files are loaded, how far, and whether what was counted is there."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from premortem.cli.retail.surroundings import database
from premortem.systems.retail.status import FileStatus, status


@click.command("status")
@click.option("--verify", is_flag=True, help="Count the rows of each file, and compare the seals of its chunks.")
@click.option("--json", "as_json", is_flag=True, help="As one JSON document on standard output.")
def command(*, verify: bool, as_json: bool) -> None:
    """Which files are loaded, how far, and by whom. Exit code 1 where --verify finds something wrong."""
    with database() as url:
        found = status(url, verify=verify)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2, default=str))
    else:
        for file in found.files:
            click.secho(f"batch {file.batch}  {file.source}: {_state(file)}", bold=True)
            known = f" + {file.known:,} known" if file.known else ""
            click.echo(f"  {file.read:,} read = {file.loaded:,} loaded + {file.dead:,} dead-lettered{known}")
            chunks = "1 chunk" if file.chunks == 1 else f"{file.chunks} chunks"
            click.echo(f"  {chunks}, last by {file.owner} at {file.changed_at:%Y-%m-%d %H:%M:%S %Z}")
        for batch in found.wrong:
            click.secho(
                f"batch {batch}: what is there is not what was counted: `premortem retail withdraw {batch}`, then run "
                "its file again",
                fg="red",
            )
        if not found.files:
            click.echo("nothing is loaded")
    sys.exit(1 if found.wrong else 0)


def _state(file: FileStatus) -> str:
    if file.complete:
        return "complete"
    if file.working:
        return "being loaded"
    if not file.chunks:
        return "nothing of it is loaded: it was refused, or cut off; run it again"
    return f"cut off: run it again, or take it out (`premortem retail withdraw {file.batch}`)"
