"""A file as a grid of text, and the eight columns picked out of it.

Laws:
- Every cell is text until the rules have seen it, so that a dead letter can show what stood in the file.
- `source_row` is the number a person sees: the first row of the file is 1, blank rows count, in a csv a row is
  a record (a line break inside quotes begins no new row). A parquet file is numbered as if its names were row 1.
- A row without any value is no row: it is left out, and the report says how many there were.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from premortem.systems.retail.columns import COLUMNS, NAMES, match
from premortem.systems.retail.errors import SourceError


@dataclass(frozen=True, slots=True)
class Grid:
    """The header as found, the cells below it as text, and the file's row number of the first of them."""

    header: tuple[str | None, ...]
    cells: pl.DataFrame
    first_row: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` has the eight columns as text and `source_row`; `labels` is what the file calls the eight."""

    rows: pl.DataFrame
    labels: tuple[str, ...]
    warnings: tuple[str, ...]


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
    cells = grid.cells
    blank = cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
    picked = cells.select(
        *(pl.col(cells.columns[place]).alias(name) for place, name in zip(found.positions, NAMES, strict=True)),
        pl.int_range(grid.first_row, grid.first_row + cells.height, dtype=pl.Int64).alias("source_row"),
    )
    rows = picked.filter(~blank) if blank.any() else picked
    if not rows.height:
        raise SourceError("has a header and no rows below it, so there is nothing to load; was the export cut off?")
    warnings = [*grid.warnings, *(f"extra column {label!r} is not loaded" for label in found.extra)]
    if rows.height < cells.height:
        warnings.append(f"{cells.height - rows.height} blank rows were left out")
    labels = tuple(grid.header[place] or column.source for place, column in zip(found.positions, COLUMNS, strict=True))
    return Table(rows, labels, tuple(warnings))
