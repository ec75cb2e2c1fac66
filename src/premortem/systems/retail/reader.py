"""Any file that holds invoices, as one table of text.

Laws:
- Whatever is wrong with a file is one `SourceError` that names the file, what is wrong and the way out.
- A panic in a library written in Rust is an exception that `except Exception` does not catch; none leaves here.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from premortem.systems.retail.delimited import read_delimited
from premortem.systems.retail.errors import HeaderError, SourceError
from premortem.systems.retail.grid import Grid, Table, pick
from premortem.systems.retail.source import Source, open_source


def read_file(path: str | Path, sheet: str | None = None) -> Table:
    """Open and read `path`; raises `SourceError`."""
    return read_table(open_source(Path(path)), sheet)


def read_table(source: Source, sheet: str | None = None) -> Table:
    """The rows of `source`, all cells as text; raises `SourceError`."""
    with saying(source.name):
        table = pick(_grid(source, sheet))
    return Table(table.rows, table.labels, (*source.warnings, *table.warnings))


@contextmanager
def saying(name: str) -> Iterator[None]:
    """Whatever goes wrong with the file inside this block is a `SourceError` that names it."""
    try:
        yield
    except HeaderError as error:
        raise HeaderError(f"{name}: {error}", missing=error.missing, doubled=error.doubled, found=error.found) from None
    except SourceError as error:
        raise SourceError(f"{name}: {error}") from None
    except MemoryError as error:
        raise SourceError(f"{name}: does not fit into memory; send it in parts, or as parquet") from error
    except OSError as error:
        raise SourceError(f"{name}: cannot be read ({error}); check the disk") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Ctrl-C and the like are none of our business
            raise
        raise SourceError(f"{name}: the reader broke on it ({error}); open and save it anew") from None


def _grid(source: Source, sheet: str | None) -> Grid:
    if sheet is not None and source.kind != "workbook":
        raise SourceError(f"is a {source.kind}, which has no sheets; leave sheet={sheet!r} (--sheet) out")
    match source.kind:
        case "workbook":
            from premortem.systems.retail.workbook import read_workbook  # noqa: PLC0415 - not needed for a csv

            return read_workbook(source.data, sheet)
        case "csv":
            return read_delimited(source.data)
        case "parquet":
            return _parquet(source.data)


def _parquet(data: bytes) -> Grid:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
        cells = frame.select(_as_text(name, dtype) for name, dtype in frame.schema.items())
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0]
        raise SourceError(
            f"is a damaged or unreadable parquet file ({reason}); was it copied or downloaded to the end?"
        ) from None
    return Grid(tuple(frame.columns), cells, first_row=2)


def _as_text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Datetime):
        return column.dt.replace_time_zone(None).dt.strftime("%Y-%m-%d %H:%M:%S%.f")
    if dtype.is_nested() or dtype == pl.Object:
        raise SourceError(f"column {name!r} holds {dtype} values, not single ones; export it flat")
    return column.cast(pl.String)
