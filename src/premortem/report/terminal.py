"""The run for people at a terminal: a table of verdicts, a block for each that is not proven, what to do next."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from premortem.model import Proof, Run, Verdict
from premortem.report.legible import legible, one_line, tail
from premortem.report.wording import (
    SYMBOLS,
    counts,
    cut_short,
    exit_code,
    headline,
    in_brief,
    outcome,
    prediction,
    prediction_in_brief,
    seconds,
    to_blame,
    where,
)

STYLES = {
    Verdict.PROVEN: "green",
    Verdict.SKIPPED: "bright_black",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_REPRODUCED: "magenta",
    Verdict.MISPREDICTED: "red",
    Verdict.GUARD_FAILED: "bold red",
}
_TABLE_FROM = 72  # columns; a narrower window gets lines instead
_PREDICTION_FROM = 110  # columns; below, the reason alone says what was predicted and what happened
_TAIL_LINES = 12
_PLAIN_COLUMNS = 100  # of a file or a pipe, which have no width of their own


def console(stream: TextIO) -> Console:
    """A console on `stream`: colours on a terminal alone, and none with NO_COLOR set, to whatever value.

    A stream that cannot encode a symbol shows `?` for it and does not raise.
    """
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PLAIN_COLUMNS
    return Console(file=stream, width=width, no_color="NO_COLOR" in os.environ or None, highlight=False, emoji=False)


def render(run: Run, width: int = _PLAIN_COLUMNS) -> str:
    """The report as plain text, `width` columns wide."""
    stream = io.StringIO()
    show(run, Console(file=stream, width=width, color_system=None, force_terminal=False, emoji=False))
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().split("\n")).rstrip("\n") + "\n"


def show(run: Run, console: Console) -> None:
    """Print the report."""
    if run.proofs:
        console.print(verdicts(run, console.width))
        console.print()
    for block in _blocks(run):
        console.print(block)
        console.print()
    console.print(summary(run), soft_wrap=console.width < _TABLE_FROM)


def badge(verdict: Verdict) -> Text:
    """The verdict with its symbol and colour."""
    return Text(f"{SYMBOLS[verdict]} {verdict.value}", STYLES[verdict], no_wrap=True)


def verdicts(run: Run, width: int) -> RenderableType:
    """One line for each proof; where `width` columns are too few for a table, two."""
    if width < _TABLE_FROM:
        return Group(*(_stacked(proof) for proof in run.proofs))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True)
    table.header_style = table.border_style = "dim"
    table.add_column("verdict", width=max(len(verdict.value) for verdict in Verdict) + 2)
    table.add_column("exhibit", no_wrap=True, max_width=width // 3)
    if wide := width >= _PREDICTION_FROM:
        table.add_column("predicted", ratio=2)
    table.add_column("what happened", ratio=3)
    table.add_column("seconds", justify="right", width=7)
    for proof in run.proofs:
        told = [prediction_in_brief(proof), in_brief(proof)] if wide else [in_brief(proof)]
        table.add_row(
            badge(proof.verdict), _line(proof.mode.name), *map(_line, told), Text(f"{proof.elapsed_s:.2f}", "dim")
        )
    return table


def summary(run: Run) -> Text:
    """The last lines: how many, what is missing, the seed, the exit code."""
    text = Text(headline(run), "bold")
    text.append(f" in {seconds(run.elapsed_s)}", "not bold")
    if len(run.counts) > 1:
        text.append(f": {counts(run)}", "not bold")
    if lack := cut_short(run):
        text.append(f"\n! {one_line(lack)}", "bold yellow")
    facts = "".join(f", {fact.name} {fact.value}" for fact in run.facts)
    text.append(f"\nrun {one_line(run.id)}, seed {run.seed}{one_line(facts)}", "not bold dim")
    text.append(f"\n{exit_code(run)}", "not bold dim")
    return text


def coloured_diff(diff: str) -> Text:
    """A unified diff in the colours that everybody knows; its signs say the same without them."""
    text = Text()
    for line in legible(diff).splitlines(keepends=True):
        style = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
        text.append(line, "bold" if line.startswith(("--- ", "+++ ")) else style)
    return text


def _stacked(proof: Proof) -> Text:
    return Text.assemble(badge(proof.verdict), f"  {one_line(proof.mode.name)}")


def _line(told: str) -> Text:
    return Text(one_line(told), no_wrap=True, overflow="ellipsis")


def _blocks(run: Run) -> Iterator[RenderableType]:
    """Skipped exhibits by what is missing, then each proof that went wrong; of what is proven nothing."""
    skipped: dict[str, list[str]] = {}
    for proof in run.proofs:
        if proof.verdict is Verdict.SKIPPED:
            skipped.setdefault(proof.reason, []).append(proof.mode.name)
    for reason, names in skipped.items():
        lines = [Text.assemble(badge(Verdict.SKIPPED), f"  {len(names)}: {one_line(reason)}")]
        yield Group(*lines, Padding(Text(one_line(", ".join(names), 1000), "dim"), (0, 0, 0, 2)))
    for proof in sorted(run.proofs, key=lambda proof: proof.verdict.severity):
        if proof.verdict not in (Verdict.PROVEN, Verdict.SKIPPED):
            yield _block(proof)


def _block(proof: Proof) -> RenderableType:
    seen = to_blame(proof)
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="fold")
    for name, told in (
        ("reason", proof.reason),
        ("predicted", prediction(proof)),
        ("broken", outcome(proof.broken)),
        ("fixed", outcome(proof.fixed)),
        ("where", where(seen)),
        ("reproduce", proof.command),
    ):
        if told:
            rows.add_row(name, Text(one_line(told, 1000)))
    if seen is not None and seen.output.strip():
        rows.add_row("output", Text(f"the end of what {seen.variant} printed", "dim"))
        rows.add_row("", Text(tail(seen.output, _TAIL_LINES, 1500), "dim"))
    title = f"  {one_line(proof.mode.name)}: {one_line(proof.mode.title)}".rstrip(": ")
    return Group(Text.assemble(badge(proof.verdict), (title, "bold")), Padding(rows, (0, 0, 0, 2)))
