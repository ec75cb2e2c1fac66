"""Figures of interleaved rounds as a table: medians, spread, and ratios to `direct` within the same round."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

DIRECT = "direct"
OURS = "premortem"


def percent(ratio: float) -> str:
    """For more is better."""
    return f"{ratio:.0%}"


def times(ratio: float) -> str:
    """For less is better."""
    return f"{ratio:.2f}x"


@dataclass(frozen=True)
class Column:
    """`ratio` puts the ratio to `direct` beside the figure; None where there is no direct figure."""

    title: str
    digits: int = 2
    ratio: Callable[[float], str] | None = None


@dataclass
class Table:
    """A row a proxy, a column a figure, a value a round; `notes` say why a row has no figures."""

    columns: Sequence[Column]
    names: list[str] = field(default_factory=list)
    _values: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, row: str, *values: float) -> None:
        """One round's figures, in the order of the columns."""
        for column, value in zip(self.columns, values, strict=True):
            self._values[row, column.title].append(value)

    def note(self, row: str, why: str) -> None:
        """Why this row has no figures, or not all: said in place of them."""
        self.notes[row] = why

    def values(self, row: str, title: str) -> list[float]:
        """One figure a round; empty where there is none."""
        return [] if row in self.notes else self._values.get((row, title), [])

    def ratios(self, row: str, title: str) -> list[float]:
        """To `direct` within the same round."""
        pairs = zip(self.values(row, title), self.values(DIRECT, title), strict=False)
        return [one / other for one, other in pairs]

    def rows(self) -> list[str]:
        """Those that were measured, and those that could not be, in the order of `names`."""
        return list(dict.fromkeys([*self.names, *(row for row, _ in self._values), *self.notes]))

    def goal(self, claim: str, title: str, bar: float) -> str:
        """A line: our ratio in a column beside its bar, and the peers' of the same run, the best first."""
        form = next(column.ratio for column in self.columns if column.title == title) or str
        more = form is percent
        peers = {row: self.ratios(row, title) for row in self.rows() if row not in (DIRECT, OURS)}
        found = sorted(((statistics.median(runs), row) for row, runs in peers.items() if runs), reverse=more)
        beside = ", ".join(f"{row} {form(ratio)}" for ratio, row in found)
        return goal(claim, self.ratios(OURS, title), bar, form, at_least=more) + f"; {beside}" * bool(beside)

    def text(self, *quoted: str) -> str:
        """Markdown; `quoted` are rows that come from elsewhere and say so."""
        titles = [title for one in self.columns for title in ([one.title, "to direct"] if one.ratio else [one.title])]
        lines = [f"| | {' | '.join(titles)} |", f"| --- |{' ---: |' * len(titles)}"]
        for row in self.rows():
            if row in self.notes:
                cells = [self.notes[row], *[""] * (len(titles) - 1)]
            else:
                cells = [cell for column in self.columns for cell in self._cells(row, column)]
            lines.append(f"| {row} | {' | '.join(cells)} |")
        return "\n".join([*lines, *quoted])

    def _cells(self, row: str, column: Column) -> list[str]:
        cells = [spread(self.values(row, column.title), lambda value: f"{value:,.{column.digits}f}")]
        if column.ratio:
            cells.append("" if row == DIRECT else spread(self.ratios(row, column.title), column.ratio))
        return cells


def spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    """Median (least to most)."""
    if not values:
        return ""
    middle = form(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({form(min(values))} to {form(max(values))})"


def goal(claim: str, values: Sequence[float], bar: float, form: Callable[[float], str], *, at_least: bool) -> str:
    """A line: the claim, whether the median meets it, and the median."""
    if not values:
        return f"- {claim}: not measured"
    middle = statistics.median(values)
    met = middle >= bar if at_least else middle <= bar
    return f"- {claim}: {'met' if met else '**not met**'} ({form(middle)})"
