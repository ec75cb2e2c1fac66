"""`premortem list`: what can be proven, by gallery, without importing any of it."""

from __future__ import annotations

import json
from itertools import groupby

import click

from premortem.cli import targets
from premortem.model import FailureMode


@click.command("list")
@click.argument("target", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of text.")
def command(target: tuple[str, ...], *, as_json: bool) -> None:
    """List the failures that can be proven, by gallery.

    TARGET is a slug, a gallery or a path, as for `premortem prove`.

    \b
    Examples:
      premortem list
      premortem list tests/failures/
      premortem list ingest --json
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    modes = targets.resolve(target)
    if as_json:
        click.echo(json.dumps([_record(mode) for mode in modes], indent=2))
        return
    width = max(len(mode.slug) for mode in modes)
    for gallery, members in groupby(modes, key=lambda mode: mode.gallery):
        click.secho(gallery, bold=True)
        for mode in members:
            flaw = click.style(f"  incomplete: {mode.flaw}", fg="yellow") if mode.flaw else ""
            click.echo(f"  {mode.slug:<{width}}  {mode.title}{flaw}")


def _record(mode: FailureMode) -> dict[str, object]:
    return {
        "name": mode.name,
        "title": mode.title,
        "path": mode.path,
        "needs": list(mode.needs),
        "flaw": mode.flaw,
    }
