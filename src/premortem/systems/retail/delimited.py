"""A csv as a grid of text: comma, semicolon or tab, UTF-8 or what old programs write.

Laws:
- polars reads fast and fills short rows up in silence; a row with too few fields is most likely a file cut off
  in the middle. So where the last column has gaps, the file is read again, field by field, by the strict reader.
- An encoding that had to be guessed is said aloud.
"""

from __future__ import annotations

import codecs
import csv
import io

import polars as pl

from premortem.systems.retail.columns import COLUMNS, match
from premortem.systems.retail.errors import HeaderError, SourceError
from premortem.systems.retail.grid import Grid, below_header
from premortem.systems.retail.source import UTF_16

_DELIMITERS = (",", ";", "\t")


def read_delimited(data: bytes) -> Grid:
    """The records of a csv; raises `SourceError` where they are not all of the same number of fields."""
    text, warnings = _as_utf8(data)
    body = text.lstrip(b"\r\n")
    skipped = text[: len(text) - len(body)].replace(b"\r\n", b"\n").count(b"\n")
    first = body.split(b"\n", 1)[0].decode()
    delimiter = max(_DELIMITERS, key=lambda each: _fitness(first, each))
    width = len(_fields(first, delimiter))
    if width < 2:  # noqa: PLR2004 - a table of one column is no csv
        raise SourceError(
            f"is no table: its first line is {first[:80]!r}, without a comma, semicolon or tab; "
            "expected is a csv with the eight columns in its first line"
        )
    cells = _parse(body, delimiter, width, skipped)
    if cells.select(pl.last().is_null().any()).item():
        _strict(body, delimiter, width, skipped)
    grid = below_header(cells, skipped=skipped)
    return Grid(grid.header, grid.cells, grid.first_row, warnings)


def _as_utf8(data: bytes) -> tuple[bytes, tuple[str, ...]]:
    if data.startswith(UTF_16):
        try:
            return data.decode("utf-16").encode(), ("the file is UTF-16, as Excel's 'Unicode text': converted",)
        except UnicodeError as error:
            raise SourceError(f"is damaged UTF-16 text ({error}); save it as 'CSV UTF-8'") from None
    text = data.removeprefix(codecs.BOM_UTF8)
    try:
        text.decode()
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        # Latin-1 hardly ever looks like UTF-8; where some of it does, it is UTF-8 and a byte of it is broken.
        if not text.decode(errors="ignore").isascii():
            raise SourceError(f"line {line}: is damaged UTF-8 text; was it cut off or mixed? Export it again") from None
        said = f"the file is not UTF-8 (line {line}): read as Latin-1, so check accents and currency signs"
        return text.decode("latin-1").encode(), (said,)
    return text, ()


def _fields(line: str, delimiter: str) -> list[str]:
    return next(csv.reader([line], delimiter=delimiter), [])


def _fitness(line: str, delimiter: str) -> tuple[int, int]:
    fields = _fields(line, delimiter)
    try:
        match(fields)
    except HeaderError as error:
        return len(COLUMNS) - len(error.missing), len(fields)
    return len(COLUMNS), len(fields)


def _parse(body: bytes, delimiter: str, width: int, skipped: int) -> pl.DataFrame:
    schema = {f"field_{place}": pl.String() for place in range(width)}
    try:
        return pl.read_csv(body, has_header=False, schema=schema, separator=delimiter, infer_schema=False)
    except pl.exceptions.PolarsError as error:
        _strict(body, delimiter, width, skipped)
        raise SourceError(f"is no readable csv ({str(error).splitlines()[0]}); export it again") from None


def _strict(body: bytes, delimiter: str, width: int, skipped: int) -> None:
    lines = io.TextIOWrapper(io.BytesIO(body), encoding="utf-8", newline="")
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for fields in reader:
            if fields and len(fields) != width:
                raise SourceError(
                    f"line {reader.line_num + skipped}: has {len(fields)} fields, the header has {width}; "
                    "the file is cut off there, or a delimiter stands in a value without quotes: export it again"
                )
    except csv.Error as error:
        raise SourceError(f"line {reader.line_num + skipped}: is no readable csv ({error}); export it again") from None
