"""A file as a grid of text, and the eight columns picked out of it.

Laws:
- Every cell is text until the rules have seen it, so that a dead letter can show what stood in the file.
- `source_row` is the number a person sees: the first row of the file is 1, blank rows count, in a csv a row is
  a record (a line break inside quotes begins no new row). A parquet file is numbered as if its names were row 1.
- A row without any value is no row: it is left out, and the report says how many there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from premortem.systems.retail.columns import COLUMNS, NAMES, Match, match
from premortem.systems.retail.errors import SourceError

NO_ROWS = "has a header and no rows below it, so there is nothing to load; was the export cut off?"


@dataclass(frozen=True, slots=True)
class Grid:
    """The header as found, the cells below it as text, and the file's row number of the first of them."""

    header: tuple[str | None, ...]
    cells: pl.DataFrame
    first_row: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` has the eight columns as text and `source_row`; `labels` is what the file calls the eight.

    `nul` is False where it is known that no text holds NUL, which saves looking for it.
    """

    rows: pl.DataFrame
    labels: tuple[str, ...]
    warnings: tuple[str, ...]
    nul: bool = True


def below_header(cells: pl.DataFrame, *, skipped: int = 0) -> Grid:
    """Take the first row with a value as the header; `skipped` rows of the file stand above `cells`."""
    for place in range(cells.height):
        header: tuple[str | None, ...] = cells.row(place)
        if any(label is not None and label.strip() for label in header):
            return Grid(header, cells.slice(place + 1), skipped + place + 2)
    raise SourceError("has no rows at all, not even a header; was the right sheet or file sent?")


def pick(grid: Grid) -> Table:
    """The eight columns of `grid`; raises `HeaderError`, or `SourceError` where there is no row below the header."""
    found = match(grid.header)
    rows = pick_rows(grid.cells, found, grid.first_row)
    if not rows.height:
        raise SourceError(NO_ROWS)
    warnings = [*grid.warnings, *unasked(found)]
    if rows.height < grid.cells.height:
        warnings.append(f"{grid.cells.height - rows.height} blank rows were left out")
    return Table(rows, labels_of(grid.header, found), tuple(warnings))


def pick_rows(cells: pl.DataFrame, found: Match, first_row: int) -> pl.DataFrame:
    """The eight columns of the rows that have a value, and `source_row`."""
    blank = cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
    picked = cells.select(
        *(pl.col(cells.columns[place]).alias(name) for place, name in zip(found.positions, NAMES, strict=True)),
        pl.int_range(first_row, first_row + cells.height, dtype=pl.Int64).alias("source_row"),
    )
    return picked.filter(~blank) if blank.any() else picked


def labels_of(header: Sequence[str | None], found: Match) -> tuple[str, ...]:
    """What the file calls the eight columns."""
    return tuple(header[place] or column.source for place, column in zip(found.positions, COLUMNS, strict=True))


def unasked(found: Match) -> tuple[str, ...]:
    """A warning for each column that nobody asked for."""
    return tuple(f"extra column {label!r} is not loaded" for label in found.extra)
