"""A csv as a grid of text: comma, semicolon or tab, UTF-8 or what old programs write.

Laws:
- polars reads fast and fills short rows up in silence; a row with too few fields is most likely a file cut off in the
  middle. So where the last column has gaps, the part is read again, field by field, by the strict reader.
- A file that is cut off shows it at its end. That is looked at first, before any row of it is loaded.
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
    dialect = dialect_of(body.split(b"\n", 1)[0].decode())
    cells = parse(body, dialect, lambda: skipped)
    ending = look_at_end(body, dialect, lambda: skipped + body.rstrip(b"\r\n").count(b"\n"))
    grid = below_header(cells, skipped=skipped)
    return Grid(grid.header, grid.cells, grid.first_row, (*text.warnings, *ending))


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


def look_at_end(tail: bytes, dialect: Dialect, lines_before: Callable[[], int]) -> tuple[str, ...]:
    """A warning where the last line of `tail` has no end; raises `SourceError` where it is no whole record.

    `lines_before` counts the lines above it. Of a line with a quote only who reads from the top can tell.
    """
    above, _, line = tail.rstrip(b"\r\n").rpartition(b"\n")
    if not above:  # the header, or a line longer than the tail
        return ()
    last = line.decode(errors="replace")
    found = len(fields(last, dialect.delimiter))
    if '"' not in last and found != dialect.width:
        raise _ragged(lines_before() + 1, found, dialect)
    if tail.endswith((b"\n", b"\r")):
        return ()
    return (f"the last line has no line end (it ends in {last[-20:]!r}): was the file cut off in its last value?",)


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
                raise _ragged(reader.line_num + lines_before(), len(found), dialect)
    except csv.Error as error:
        raise SourceError(
            f"line {reader.line_num + lines_before()}: is no readable csv ({error}); export it again"
        ) from None


def _ragged(line: int, found: int, dialect: Dialect) -> SourceError:
    return SourceError(
        f"line {line}: has {found} fields, the header has {dialect.width}; the file is cut off there, or a delimiter "
        "stands in a value without quotes: export it again"
    )
