"""Broken against fixed, for `premortem explain` and `premortem show`: the lesson, and what both did under the fault."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from premortem.model import FailureMode, Observation, Proof
from premortem.report.legible import legible, one_line
from premortem.report.lesson import unified
from premortem.report.wording import outcome, prediction

_COLUMNS_FROM = 80  # columns of the terminal; three texts side by side cannot be read in fewer
_MOST_MOMENTS = 6


def diff(mode: FailureMode) -> str:
    """The unified diff of broken and fixed under one name, whole functions; empty where both read the same."""
    longest = max(mode.broken.count("\n"), mode.fixed.count("\n")) + 1
    return legible(unified(mode, context=longest))


def side_by_side(proof: Proof, width: int = 100) -> str:
    """Expected, actual and correct as plain text: three columns, stacked where `width` is under 80."""
    stream = io.StringIO()
    Console(file=stream, width=width, color_system=None, force_terminal=False, emoji=False).print(columns(proof, width))
    return "\n".join(line.rstrip() for line in stream.getvalue().split("\n")).rstrip("\n") + "\n"


def columns(proof: Proof, width: int) -> RenderableType:
    """The same for a console `width` columns wide, with colours."""
    sides = _sides(proof)
    if width < _COLUMNS_FROM:
        blocks = [(Text(side.heading, side.style), Padding(side.text, (0, 0, 1, 2))) for side in sides]
        return Group(*(part for block in blocks for part in block))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, expand=True, border_style="dim")
    for side in sides:
        table.add_column(Text(side.heading, side.style), ratio=1, overflow="fold")
    table.add_row(*(side.text for side in sides))
    return table


@dataclass(frozen=True, slots=True)
class _Side:
    heading: str
    style: str
    text: Text


def _sides(proof: Proof) -> tuple[_Side, _Side, _Side]:
    return (
        _Side("expected (the prediction)", "bold", Text(one_line(prediction(proof)))),
        _Side("actual (what broken did)", "bold red", _text(proof.broken)),
        _Side("correct (what fixed did)", "bold green", _text(proof.fixed)),
    )


def _text(seen: Observation) -> Text:
    text = Text(f"{seen.variant} {one_line(outcome(seen), 600)}")
    for line in _told(seen):
        text.append(f"\n{line}", "dim")
    return text


def _told(seen: Observation) -> Iterator[str]:
    """Where it failed, then what struck and what was checked, with the seconds at which it happened."""
    if seen.failure is not None and seen.failure.where:
        yield f"at {one_line(seen.failure.where)}"
    telling = [moment for moment in seen.timeline if moment.name.startswith(("fault.", "check.", "subject.raised"))]
    for moment in telling[:_MOST_MOMENTS]:
        yield one_line(f"{moment.at_s:.2f} s {moment.name} {moment.detail}", 120)
    if len(telling) > _MOST_MOMENTS:
        yield f"and {len(telling) - _MOST_MOMENTS} more moments"
