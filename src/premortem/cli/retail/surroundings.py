"""What the commands of the retail system run in: a database, and a bar that shows how far they are."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from premortem.events import Event, listening

URL = "PREMORTEM_POSTGRES_URL"
_STEPS = {
    "retail.read": "checking the rules",
    "retail.sorted": "loading",
    "retail.loaded": "loading",
    "retail.dead_lettered": "keeping dead letters",
    "retail.committed": "committed",
}


@contextmanager
def database() -> Iterator[str | None]:
    """The user's own where one is named; else the kept one, running at least for this block."""
    try:
        if URL in os.environ:
            yield None
            return
        from premortem.servers import kept  # noqa: PLC0415 - not needed where the user has a server

        with kept.running() as url:
            yield url
    except KeyboardInterrupt:
        click.echo("what was committed is kept, the rest rolled back: the same command goes on from there", err=True)
        raise


@contextmanager
def progress(*, quiet: bool) -> Iterator[None]:
    """A bar on a terminal; nothing anywhere else, where the summary says it all."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    from rich.progress import (  # noqa: PLC0415 - a tenth of a second, for a terminal alone
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from premortem.report import terminal  # noqa: PLC0415 - as above

    columns = (TextColumn("{task.description:<22}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=terminal.console(sys.stderr), transient=True) as bar:
        task = bar.add_task("reading the file", total=None)

        def show(event: Event) -> None:
            if event.name in _STEPS:
                total, done = event.get("total"), event.get("rows")
                shown = float(total) if isinstance(total, int) else None
                bar.update(task, description=_STEPS[event.name], total=shown, completed=float(done or 0))
            elif event.name == "retail.chunk":
                share = float(event.get("share") or 0)
                bar.update(task, description=str(event.get("source"))[:22], total=1, completed=share)

        with listening(show):
            yield
