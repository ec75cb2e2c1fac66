"""Whatever a file looks like: the same cells as text, and the row numbers that a person sees."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from premortem.systems.retail.columns import COLUMNS, NAMES
from premortem.systems.retail.reader import read_file

HEADER = [column.source for column in COLUMNS]
AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 - wall clock
ROW: list[object] = [536365, "85123A", "LANTERN", 6, AT, 2.55, 17850, "EIRE"]
TEXT = ("536365", "85123A", "LANTERN", "6", "2010-12-01 08:26:00", "2.55", "17850", "EIRE")
CSV = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "536365,85123A,LANTERN,6,12/1/2010 8:26,2.55,17850,EIRE\n"

Write = Callable[[str, bytes | str], Path]
Workbook = Callable[..., bytes]


def rows(path: Path, sheet: str | None = None) -> list[tuple[object, ...]]:
    return read_file(path, sheet).rows.select(*NAMES, "source_row").rows()


def test_a_workbook(write: Write, workbook: Workbook) -> None:
    cancelled = ["C536379", 84029, None, -1, AT, 0.1 + 0.2, None, "EIRE"]
    path = write("a.xlsx", workbook({"s": [HEADER, ROW, cancelled]}))
    assert rows(path) == [
        (*TEXT, 2),
        ("C536379", "84029", None, "-1", "2010-12-01 08:26:00", "0.3", None, "EIRE", 3),
    ]
    assert read_file(path).warnings == ()


def test_blank_rows_keep_the_numbers_of_the_others(write: Write, workbook: Workbook) -> None:
    path = write("a.xlsx", workbook({"s": [HEADER, ROW, [], ROW]}, down=3))
    assert rows(path) == [(*TEXT, 5), (*TEXT, 7)]
    assert read_file(path).warnings == ("1 blank rows were left out",)


def test_the_sheet_with_the_columns_is_read(write: Write, workbook: Workbook) -> None:
    path = write("a.xlsx", workbook({"Notes": [["Hello"]], "Empty": [], "Data": [HEADER, ROW]}))
    assert rows(path) == [(*TEXT, 2)]
    assert read_file(path).warnings == ("read sheet 'Data', one of 3",)
    two = write("b.xlsx", workbook({"A": [HEADER, ROW], "B": [HEADER, ROW, ROW]}))
    assert len(rows(two, "B")) == 2


def test_extra_columns_are_warned_about(write: Write, workbook: Workbook) -> None:
    path = write("a.xlsx", workbook({"s": [["Margin", *HEADER], [9, *ROW]]}))
    assert rows(path) == [(*TEXT, 2)]
    assert read_file(path).warnings == ("extra column 'Margin' is not loaded",)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_csv_dialects(delimiter: str, prefix: bytes, newline: str, write: Write) -> None:
    text = (CSV + LINE).replace(",", delimiter).replace("\n", newline)
    path = write("a.csv", prefix + text.encode())
    assert rows(path) == [(*TEXT[:4], "12/1/2010 8:26", *TEXT[5:], 2)]
    assert read_file(path).warnings == ()


def test_csv_rows_are_records(write: Write) -> None:
    odd = '536365,85123A,"LAN\nTERN ""x"", y",6,12/1/2010 8:26,2.55,17850,EIRE\n'
    path = write("a.csv", "\n\n" + CSV + odd + "\n" + LINE)
    found = rows(path)
    assert [row[-1] for row in found] == [4, 6]
    assert found[0][2] == 'LAN\nTERN "x", y'


def test_encodings_that_are_guessed_are_said(write: Write) -> None:
    text = CSV + LINE.replace("LANTERN", "CAFÉ")
    latin = read_file(write("a.csv", text.encode("latin-1")))
    utf16 = read_file(write("b.csv", text.encode("utf-16")))
    assert latin.rows["description"].to_list() == utf16.rows["description"].to_list() == ["CAFÉ"]
    assert latin.warnings == ("the file is not UTF-8 (line 2): read as Latin-1, so check accents and currency signs",)
    assert "UTF-16" in utf16.warnings[0]


def test_content_decides_and_not_the_name(write: Write, workbook: Workbook) -> None:
    csv_as_xlsx = read_file(write("a.xlsx", CSV + LINE))
    xlsx_as_csv = read_file(write("a.csv", workbook({"s": [HEADER, ROW]})))
    assert csv_as_xlsx.warnings == ("a.xlsx is named as a workbook and is a csv: read by its content",)
    assert xlsx_as_csv.warnings == ("a.csv is named as a csv and is a workbook: read by its content",)
    assert csv_as_xlsx.rows.height == xlsx_as_csv.rows.height == 1


def test_a_missing_customer_in_the_last_column_is_no_ragged_row(write: Write) -> None:
    header = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,Country,CustomerID\n"
    path = write("a.csv", header + "536365,85123A,LANTERN,6,12/1/2010 8:26,2.55,EIRE,\n")
    assert rows(path)[0][6] is None


def test_parquet_of_typed_columns(write: Write) -> None:
    file = io.BytesIO()
    values = ["536365", "85123A", "LANTERN", 6, AT, 2.55, 17850.0, "EIRE"]
    pl.DataFrame([values], schema=HEADER, orient="row").write_parquet(file)
    assert rows(write("a.parquet", file.getvalue())) == [(*TEXT[:6], "17850.0", "EIRE", 2)]
