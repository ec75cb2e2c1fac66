"""A csv as a grid of text: comma, semicolon or tab, UTF-8 or what old programs write.

Law: polars reads fast and fills short rows up in silence; a row with too few fields is most likely a file cut off
in the middle. So where the last column has gaps, the part is read again, field by field, by the strict reader.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from premortem.systems.retail.columns import COLUMNS, match
from premortem.systems.retail.errors import HeaderError, SourceError
from premortem.systems.retail.grid import Grid, below_header
from premortem.systems.retail.text import text_of

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the records of a csv are written: what stands between two fields, and how many there are."""

    delimiter: str
    width: int


def read_delimited(data: bytes) -> Grid:
    """The records of a csv; raises `SourceError` where they are not all of the same number of fields."""
    text = text_of(io.BytesIO(data))
    with text.file:
        body = b"".join(text.blocks(text.begin))
    full, body = body, body.lstrip(b"\r\n")
    skipped = full.count(b"\n", 0, len(full) - len(body))
    cells = parse(body, dialect_of(body.split(b"\n", 1)[0].decode()), lambda: skipped)
    grid = below_header(cells, skipped=skipped)
    return Grid(grid.header, grid.cells, grid.first_row, text.warnings)


def dialect_of(first: str) -> Dialect:
    """The dialect that makes most of the first line; raises `SourceError` where none makes a table of it."""
    delimiter = max(_DELIMITERS, key=lambda each: _fitness(first, each))
    width = len(fields(first, delimiter))
    if width < 2:  # noqa: PLR2004 - a table of one column is no csv
        raise SourceError(
            f"is no table: its first line is {first[:80]!r}, without a comma, semicolon or tab; "
            "expected is a csv with the eight columns in its first line"
        )
    return Dialect(delimiter, width)


def fields(record: str, delimiter: str) -> list[str]:
    """The fields of one record."""
    return next(csv.reader([record], delimiter=delimiter), [])


def parse(body: bytes, dialect: Dialect, lines_before: Callable[[], int]) -> pl.DataFrame:
    """Whole records as cells; raises `SourceError` that names the line, of which `lines_before` stand above `body`."""
    schema = {f"field_{place}": pl.String() for place in range(dialect.width)}
    try:
        cells = pl.read_csv(body, has_header=False, schema=schema, separator=dialect.delimiter, infer_schema=False)
    except pl.exceptions.NoDataError:
        return pl.DataFrame(schema=schema)
    except pl.exceptions.PolarsError as error:
        _strict(body, dialect, lines_before)
        raise SourceError(f"is no readable csv ({str(error).splitlines()[0]}); export it again") from None
    if cells.select(pl.last().is_null().any()).item():
        _strict(body, dialect, lines_before)
    return cells


def _fitness(line: str, delimiter: str) -> tuple[int, int]:
    found = fields(line, delimiter)
    try:
        match(found)
    except HeaderError as error:
        return len(COLUMNS) - len(error.missing), len(found)
    return len(COLUMNS), len(found)


def _strict(body: bytes, dialect: Dialect, lines_before: Callable[[], int]) -> None:
    lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
    reader = csv.reader(lines, delimiter=dialect.delimiter, strict=True)
    try:
        for found in reader:
            if found and len(found) != dialect.width:
                raise SourceError(
                    f"line {reader.line_num + lines_before()}: has {len(found)} fields, the header has "
                    f"{dialect.width}; the file is cut off there, or a delimiter stands in a value without quotes: "
                    "export it again"
                )
    except csv.Error as error:
        raise SourceError(
            f"line {reader.line_num + lines_before()}: is no readable csv ({error}); export it again"
        ) from None
