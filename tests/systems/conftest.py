"""A PostgreSQL for the tests of the reference systems, a new database in it for each test, and files to load."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import psycopg
import pytest
import xlsxwriter  # type: ignore[import-untyped]
from psycopg import sql

from premortem.errors import MissingRequirementError

Workbook = Callable[..., bytes]
Count = Callable[[], tuple[int, int, int]]


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    from premortem.servers import Servers  # noqa: PLC0415 - the pure tests start no server and load none

    with Servers() as servers:
        try:
            yield servers.postgres().admin_url
        except MissingRequirementError as missing:
            pytest.skip(str(missing))


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    name = f"retail_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
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
                )
                assert row is not None
                numbers.append(int(row[0]))
            return numbers[0], numbers[1], numbers[2]

        yield rows
