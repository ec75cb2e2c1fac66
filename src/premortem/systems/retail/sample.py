"""A file of the workbook's shape, made up: the same columns, the same kinds of dirt, the same bytes for a seed.

Laws:
- The shares of dirt are those of the real file, and each kind occurs at least once however few the rows are
  (from `MIN_DIRTY_ROWS` on), so that a test of ten seconds meets what a year of the shop has met.
- How many rows must become dead letters is known from the start: `Sample.dead`.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.systems.retail.columns import COLUMNS

MIN_DIRTY_ROWS = 20
_START = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 - wall clock, as in the file
_MINUTES = 373 * 24 * 60
_WORDS = ("WHITE", "RED", "HEART", "LANTERN", "CAKE", "TIN", "BAG", "RETROSPOT", "METAL", "SIGN", "T-LIGHT", "CAFÉ")
_COUNTRIES = ("United Kingdom",) * 91 + ("Germany", "France", "EIRE") * 2 + ("Spain", "Norway", "RSA")
_SPECIAL = (("POST", "POSTAGE"), ("M", "Manual"), ("BANK CHARGES", "Bank Charges"), ("D", "Discount"))


@dataclass(frozen=True, slots=True)
class Line:
    """One row as the workbook holds it."""

    invoiceno: str
    stockcode: str
    description: str | None
    quantity: int
    invoicedate: datetime
    unitprice: float
    customerid: int | None
    country: str


@dataclass(frozen=True, slots=True)
class Sample:
    """What was written: `dead` of the `rows` break a rule."""

    path: Path
    rows: int
    dead: int


def write_sample(path: str | Path, rows: int = 1000, seed: int = 0, *, dirty: bool = True) -> Sample:
    """Write `rows` rows to `path`, as xlsx, csv or parquet by its suffix."""
    path = Path(path)
    writers: dict[str, Callable[[Path, list[Line]], None]] = {
        ".xlsx": _write_workbook,
        ".csv": _write_csv,
        ".parquet": _write_parquet,
    }
    writer = writers.get(path.suffix.lower())
    if writer is None:
        raise ConfigurationError(f"{path.name}: a sample is written as {', '.join(writers)}; name it so")
    if rows < 0 or (dirty and rows < MIN_DIRTY_ROWS):
        raise ConfigurationError(
            f"rows={rows}: a dirty sample has {MIN_DIRTY_ROWS} rows or more; ask for more, or say dirty=False"
        )
    made, dead = lines(rows, seed, dirty=dirty)
    writer(path, made)
    return Sample(path, rows, dead)


def lines(rows: int, seed: int = 0, *, dirty: bool = True) -> tuple[list[Line], int]:
    """The lines of a sample, and how many of them break a rule."""
    rng = random.Random(seed)  # noqa: S311 - a sample is no secret
    made = list(_clean(rows, rng))
    if not dirty:
        return made, 0
    # Each row takes one kind of dirt at most: so the dead can be counted beforehand.
    free = rng.sample(range(rows), rows)
    dead = 0
    for share, deadly, spoil in _DIRT:
        for _ in range(max(1, round(share * rows))):
            place = free.pop()
            made[place] = spoil(made[place], rng)
            dead += deadly
    return made, dead


def _clean(rows: int, rng: random.Random) -> Iterator[Line]:
    stock = [
        (str(rng.randrange(10_000, 90_000)) + rng.choice(("", "", "A", "B")), " ".join(rng.sample(_WORDS, 3)))
        for _ in range(min(4000, rows // 10 + 10))
    ]
    invoices = max(1, rows // 21)
    at = sorted(rng.randrange(_MINUTES) for _ in range(invoices))
    for row in range(rows):
        number = min(row // 21, invoices - 1)
        # What is the same for a whole invoice is drawn from its number.
        of_invoice = random.Random(number)  # noqa: S311 - as above
        code, description = rng.choice(stock)
        yield Line(
            str(536_365 + number),
            code,
            description,
            rng.choice((1, 1, 2, 3, 4, 6, 6, 8, 12, 24, 48)),
            _START + timedelta(minutes=at[number]),
            rng.choice((0.42, 0.85, 1.25, 1.65, 2.1, 2.55, 3.39, 4.95, 7.95, 12.75)),
            12_346 + of_invoice.randrange(5_942),
            of_invoice.choice(_COUNTRIES),
        )


def _cancelled(line: Line, _: random.Random) -> Line:
    return replace(line, invoiceno=f"C{line.invoiceno}", quantity=-line.quantity)


def _special(line: Line, rng: random.Random) -> Line:
    code, description = rng.choice(_SPECIAL)
    return replace(line, stockcode=code, description=description, quantity=1)


def _negative_price(line: Line, _: random.Random) -> Line:
    return replace(
        line,
        invoiceno=f"A{line.invoiceno}",
        stockcode="B",
        description="Adjust bad debt",
        unitprice=-11_062.06,
        customerid=None,
    )


# Share of the rows, whether it makes a dead letter, and the deed; shares counted in the real file.
_DIRT: tuple[tuple[float, bool, Callable[[Line, random.Random], Line]], ...] = (
    (0.247, False, lambda line, _: replace(line, customerid=None)),
    (0.0171, False, _cancelled),
    (0.0025, False, lambda line, _: replace(line, quantity=-line.quantity)),
    (0.0019, False, lambda line, _: replace(line, unitprice=0.0)),
    (0.005, False, _special),
    (0.0027, True, lambda line, _: replace(line, description=None, unitprice=0.0, customerid=None)),
    (
        0.00002,
        True,
        lambda line, rng: replace(line, stockcode="AMAZONFEE", unitprice=rng.randrange(10_001, 39_000) + 0.5),
    ),
    (0.000004, True, _negative_price),
)


def _cells(line: Line) -> tuple[str | int | float | datetime | None, ...]:
    return (
        line.invoiceno,
        line.stockcode,
        line.description,
        line.quantity,
        line.invoicedate,
        line.unitprice,
        line.customerid,
        line.country,
    )


def _write_workbook(path: Path, made: list[Line]) -> None:
    import xlsxwriter  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra of its own, which only this suffix needs

    with xlsxwriter.Workbook(path, {"constant_memory": True}) as workbook:
        workbook.set_properties({"created": _START})  # else the bytes would differ from run to run
        sheet = workbook.add_worksheet("Online Retail")
        as_date = workbook.add_format({"num_format": "m/d/yy h:mm"})
        sheet.write_row(0, 0, [column.source for column in COLUMNS])
        for row, line in enumerate(made, start=1):
            for place, value in enumerate(_cells(line)):
                if isinstance(value, datetime):
                    sheet.write_datetime(row, place, value, as_date)
                elif isinstance(value, str) and value.isdigit():
                    sheet.write_number(row, place, int(value))  # mixed cells, as in the original
                elif value is not None:
                    sheet.write(row, place, value)


def _write_csv(path: Path, made: list[Line]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([column.source for column in COLUMNS])
        for line in made:
            at = line.invoicedate
            us_style = f"{at.month}/{at.day}/{at.year} {at.hour}:{at.minute:02}"
            writer.writerow(us_style if isinstance(value, datetime) else value for value in _cells(line))


def _write_parquet(path: Path, made: list[Line]) -> None:
    import polars as pl  # noqa: PLC0415 - 0.1 s that the other suffixes do not need

    schema: dict[str, pl.DataType] = {
        "InvoiceNo": pl.String(),
        "StockCode": pl.String(),
        "Description": pl.String(),
        "Quantity": pl.Int64(),
        "InvoiceDate": pl.Datetime("us"),
        "UnitPrice": pl.Float64(),
        "CustomerID": pl.Float64(),  # as pandas writes whole numbers with gaps
        "Country": pl.String(),
    }
    pl.DataFrame([_cells(line) for line in made], schema=schema, orient="row").write_parquet(path)
