"""A sweep for people at a terminal: a line for each class of outcomes, a block for each that is wrong."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from premortem.model.sweep import Outcome, OutcomeClass, Sweep
from premortem.report.legible import one_line, tail
from premortem.report.sweep import SYMBOLS, clean, counts, exit_code, headline, lacks, what_happened
from premortem.report.wording import seconds

STYLES = {
    Outcome.SURVIVED: "green",
    Outcome.UNSTRUCK: "bright_black",
    Outcome.UNJUDGED: "yellow",
    Outcome.ERROR: "cyan",
    Outcome.HANG: "magenta",
    Outcome.CRASH: "red",
    Outcome.VIOLATION: "bold red",
}
_WIDTH, _TABLE_FROM = 100, 72
_TAIL_LINES, _TAIL_CHARACTERS = 12, 1500


def render(sweep: Sweep, width: int = _WIDTH) -> str:
    """The report as plain text, `width` columns wide."""
    stream = io.StringIO()
    show(sweep, Console(file=stream, width=width, color_system=None, force_terminal=False, emoji=False))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().split("\n")).rstrip("\n") + "\n"


def show(sweep: Sweep, console: Console) -> None:
    """Print the report."""
    if sweep.classes:
        console.print(_table(sweep.classes, console.width))
        console.print()
    for one in sweep.classes:
        if one.outcome in (*sweep.wrong, Outcome.UNJUDGED):
            console.print(_block(sweep, one), soft_wrap=False)
            console.print()
    console.print(_summary(sweep), soft_wrap=console.width < _TABLE_FROM)


def badge(outcome: Outcome) -> Text:
    """The outcome with its symbol and colour."""
    return Text(f"{SYMBOLS[outcome]} {outcome.value}", STYLES[outcome], no_wrap=True)


def _table(classes: tuple[OutcomeClass, ...], width: int) -> RenderableType:
    if width < _TABLE_FROM:
        return Group(*(Text.assemble(badge(one.outcome), f" {one.count} x {one_line(one.name)}") for one in classes))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.header_style = table.border_style = "dim"
    table.add_column("outcome", width=max(len(outcome.value) for outcome in Outcome) + 2)
    table.add_column("trials", justify="right", width=6)
    table.add_column("fault", overflow="fold", ratio=1)
    table.add_column("what happened", overflow="fold", ratio=1)
    for one in classes:
        table.add_row(
            badge(one.outcome), str(one.count), Text(one_line(one.name)), Text(one_line(what_happened(one), 120))
        )
    return table


def _block(sweep: Sweep, one: OutcomeClass) -> RenderableType:
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, told in _told(one):
        if told:
            rows.add_row(name, Text(one_line(told, 1000)))
    if one.first.evidence:
        rows.add_row("evidence", Text(tail(one.first.evidence, _TAIL_LINES, _TAIL_CHARACTERS)))
    if one.first.output.strip():
        rows.add_row("output", Text(tail(one.first.output, _TAIL_LINES, _TAIL_CHARACTERS), "dim"))
    reproduce = Text(one_line(sweep.reproduction(one.first), 2000), "bold")
    title = f"  {one.count} x {one_line(one.name)}"
    return Group(
        Text.assemble(badge(one.outcome), (title, "bold")),
        Padding(rows, (0, 0, 0, 2)),
        Padding(Text("reproduce", "dim"), (0, 0, 0, 2)),
        Padding(reproduce, (0, 0, 0, 4)),
    )


def _told(one: OutcomeClass) -> Iterator[tuple[str, str]]:
    yield "first", one.first.recipes
    yield "where", "; ".join(one.details[:5])
    yield "struck", "; ".join(one.first.strikes[:3])
    yield "command", one.first.ended


def _summary(sweep: Sweep) -> Text:
    text = Text(headline(sweep), "bold")
    text.append(f" in {seconds(sweep.elapsed_s)}: {counts(sweep)}", "not bold")
    text.append(f"\nclean run: {one_line(clean(sweep))}", "not bold dim")
    for lack in lacks(sweep):
        text.append(f"\n! {one_line(lack, 1000)}", "bold yellow")
    facts = "".join(f", {fact.name} {fact.value}" for fact in sweep.facts)
    text.append(f"\nsweep {one_line(sweep.id)}, seed {sweep.seed}, jobs {sweep.jobs}{one_line(facts)}", "not bold dim")
    text.append(f"\n{exit_code(sweep)}", "not bold dim")
    return text
