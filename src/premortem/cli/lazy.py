"""A group of commands that stands as data, and imports a command's module when the command is called."""

from __future__ import annotations

import gc
import importlib
from collections.abc import Mapping
from types import ModuleType

import click


class LazyGroup(click.Group):
    """A group over `table`: the name of a command, its module below `premortem.cli`, and what it does in a line."""

    def __init__(self, *args: object, table: Mapping[str, tuple[str, str]], **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # click's own, whatever they are
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's
        """In the table's order: the most used first."""
        return list(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's
        """Import the command; None where there is none of that name."""
        if cmd_name not in self._table:
            return None
        command: click.Command = _import(f"premortem.cli.{self._table[cmd_name][0]}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """The list in `--help`, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self._table.items()])


def _import(name: str) -> ModuleType:
    """Import a module of ours. Modules are no garbage, and looking for some in them is a fifth of the time."""
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.freeze()
        gc.enable()
