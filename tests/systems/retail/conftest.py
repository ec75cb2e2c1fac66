"""What the tests of the ingest share: files with something wrong in them, and a look into the database."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import xlsxwriter  # type: ignore[import-untyped]

from premortem.systems.retail.columns import COLUMNS

HEADER = [column.source for column in COLUMNS]
ROW: list[object] = [536365, "85123A", "LANTERN", 6, datetime(2010, 12, 1, 8, 26), 2.55, 17850, "United Kingdom"]
CSV_ROW = "536365,85123A,LANTERN,6,12/1/2010 8:26,2.55,17850,United Kingdom"

Workbook = Callable[..., bytes]
Count = Callable[[], tuple[int, int, int]]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    import os  # noqa: PLC0415

    for name in [name for name in os.environ if name.upper().startswith("PREMORTEM_RETAIL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def workbook() -> Workbook:
    """Bytes of a workbook: sheets by name, each a list of rows, starting `down` rows below the top."""

    def make(sheets: dict[str, Sequence[Sequence[object]]], down: int = 0) -> bytes:
        file = io.BytesIO()
        with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
            date = book.add_format({"num_format": "m/d/yy h:mm"})
            for name, rows in sheets.items():
                sheet = book.add_worksheet(name)
                for y, row in enumerate(rows):
                    for x, value in enumerate(row):
                        if isinstance(value, datetime):
                            sheet.write_datetime(y + down, x, value, date)
                        elif value is not None:
                            sheet.write(y + down, x, value)
        return file.getvalue()

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes | str], Path]:
    def to_file(name: str, content: bytes | str) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return to_file


@pytest.fixture
def count(database_url: str) -> Iterator[Count]:
    """Rows in raw_transactions, dead_letters and batches; a table that is not there has none."""
    with psycopg.connect(database_url, autocommit=True) as connection:

        def rows() -> tuple[int, int, int]:
            numbers = []
            for table in ("raw_transactions", "dead_letters", "batches"):
                there = connection.execute("select to_regclass(%s)", [f"bronze.{table}"]).fetchone()
                row = (
                    connection.execute(f"select count(*) from bronze.{table}").fetchone() if there != (None,) else (0,)
                )  # type: ignore[arg-type]
                assert row is not None
                numbers.append(int(row[0]))
            return numbers[0], numbers[1], numbers[2]

        yield rows
