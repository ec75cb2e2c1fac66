"""`premortem report`: the record of a run, in the form that is wanted."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from premortem.cli import runs
from premortem.model import journal
from premortem.report import FORMATS, render, terminal


@click.command("report")
@click.argument("run", default="last")
@click.option("--format", "form", type=click.Choice(list(FORMATS)), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="FILE", help="Write there, not to the screen.")
@click.option("--list", "list_runs", is_flag=True, help="List the recorded runs, the newest first.")
def command(run: str, *, form: str, as_json: bool, output: Path | None, list_runs: bool) -> int:
    """Render the record of RUN: a run's id or the beginning of it, `last`, or a path to a journal.

    The exit code is that of the run.

    \b
    Examples:
      premortem report
      premortem report --list
      premortem report 20261122-2359 --format html -o report.html
      premortem report last --format junit -o junit.xml
    """  # noqa: D301 - \b is click's mark for "leave these lines as they are"
    if list_runs:
        for path in runs.newest_first():
            click.echo(path.parent.name)
        return 0
    record = journal.read(runs.find(run))
    form = "json" if as_json else form
    if output is not None:
        output.write_text(render(record, form), encoding="utf-8")
    elif form == "text":
        terminal.show(record, terminal.console(sys.stdout))
    else:
        click.echo(render(record, form))
    return record.exit_code
