"""`premortem show`: the diff between the broken and the fixed variant, which is the lesson."""

from __future__ import annotations

import json
import sys

import click

from premortem.cli import targets
from premortem.errors import ConfigurationError
from premortem.report import comparison, terminal


@click.command("show")
@click.argument("target")
@click.option("--json", "as_json", is_flag=True, help="Both sources and the diff as one JSON document.")
def command(target: str, *, as_json: bool) -> None:
    """Show what differs between the broken and the fixed variant of TARGET.

    \b
    Example:
      premortem show negative-prices
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    mode = targets.resolve_one(target)
    if mode.flaw:
        raise ConfigurationError(f"{mode.path}: {mode.flaw}")
    diff = comparison.diff(mode)
    if as_json:
        record = {"name": mode.name, "broken": mode.broken, "fixed": mode.fixed, "diff": diff}
        click.echo(json.dumps(record, indent=2))
        return
    click.secho(mode.title, bold=True)
    terminal.console(sys.stdout).print(terminal.coloured_diff(diff), end="", soft_wrap=True)
