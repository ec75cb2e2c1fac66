"""Every bad file is one clear error, and nothing of it is in the database."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from premortem.systems.retail.columns import COLUMNS
from premortem.systems.retail.errors import HeaderError, SourceError
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.reader import read_file

HEADER = [column.source for column in COLUMNS]
AT = datetime(2010, 12, 1, 8, 26)  # noqa: DTZ001 - wall clock
ROW: list[object] = [536365, "85123A", "LANTERN", 6, AT, 2.55, 17850, "EIRE"]
CSV = ",".join(HEADER) + "\n"
LINE = "536365,85123A,LANTERN,6,12/1/2010 8:26,2.55,17850,EIRE\n"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

Workbook = Callable[..., bytes]
Make = Callable[[Path, Workbook], None]
Count = Callable[[], tuple[int, int, int]]


def content(data: bytes | str) -> Make:
    return lambda path, _: _write(path, data.encode() if isinstance(data, str) else data)


def sheets(**named: list[list[object]]) -> Make:
    return lambda path, workbook: _write(path, workbook(named))


def cut(share: float) -> Make:
    def make(path: Path, workbook: Workbook) -> None:
        data = workbook({"s": [HEADER, *[ROW] * 50]})
        _write(path, data[: int(len(data) * share)])

    return make


def flipped(path: Path, workbook: Workbook) -> None:
    data = bytearray(workbook({"s": [HEADER, *[ROW] * 50]}))
    entry = zipfile.ZipFile(io.BytesIO(data)).getinfo("xl/worksheets/sheet1.xml")
    data[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    _write(path, bytes(data))


def archive(path: Path, _: Workbook) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("letter.txt", "dear")


def parquet(share: float, schema: list[str] = HEADER) -> Make:
    def make(path: Path, _: Workbook) -> None:
        file = io.BytesIO()
        pl.DataFrame([ROW[: len(schema)]] * 50, schema=schema, orient="row", strict=False).write_parquet(file)
        _write(path, file.getvalue()[: int(len(file.getvalue()) * share)])

    return make


def nested(path: Path, _: Workbook) -> None:
    pl.DataFrame({name: [["a"]] for name in HEADER}).write_parquet(path)


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)


BAD: dict[str, tuple[str, Make, str]] = {
    "missing": ("a.xlsx", lambda _, __: None, "there is no such file; check the path"),
    "folder": ("a.xlsx", lambda path, _: path.mkdir(), "is a folder"),
    "pipe": ("a.csv", lambda path, _: os.mkfifo(path), "is no regular file"),
    "empty": ("a.xlsx", content(b""), "is empty (0 bytes)"),
    "encrypted": ("a.xlsx", content(OLE + "EncryptedPackage".encode("utf-16-le")), "remove the password"),
    "old excel": ("a.xls", content(OLE + b"\0" * 99), "is an old Excel file (.xls)"),
    "image": ("a.xlsx", content(b"\x89PNG\r\n\x1a\n" + b"\0" * 99), "is a PNG image"),
    "gzip": ("a.csv", content(b"\x1f\x8b" + b"\0" * 99), "unpack it first"),
    "web page": ("a.xlsx", content("<!doctype html><html>Not found</html>"), "is a web page"),
    "binary": ("a.xlsx", content(bytes(range(256)) * 20), "binary file of an unknown kind"),
    "half a zip": ("a.xlsx", cut(0.6), "half-written workbook"),
    "start of a zip": ("a.xlsx", cut(0.1), "half-written workbook"),
    "one bit flipped": ("a.xlsx", flipped, "damaged workbook"),
    "other archive": ("a.xlsx", archive, "is a zip archive and no workbook"),
    "empty sheet": ("a.xlsx", sheets(s=[]), "has no rows at all"),
    "header only": ("a.xlsx", sheets(s=[list(HEADER)]), "has a header and no rows below it"),
    "blank below the header": ("a.xlsx", sheets(s=[list(HEADER), [], []]), "has a header and no rows below it"),
    "wrong columns": ("a.xlsx", sheets(s=[["A", "B"], [1, 2]]), "missing columns: InvoiceNo, StockCode"),
    "doubled column": ("a.xlsx", sheets(s=[[*HEADER, "quantity"], [*ROW, 1]]), "occur more than once: Quantity"),
    "no sheet fits": ("a.xlsx", sheets(a=[["A"]], b=[]), "has no sheet that has the columns"),
    "two sheets fit": ("a.xlsx", sheets(a=[list(HEADER), ROW], b=[list(HEADER), ROW]), "2 sheets that have"),
    "prose": ("a.csv", content("Dear Sir or Madam\nplease find attached\n"), "is no table"),
    "csv header only": ("a.csv", content(CSV), "has a header and no rows below it"),
    "csv without the columns": ("a.csv", content("a,b\n1,2\n"), "missing columns"),
    "csv cut off": ("a.csv", content(CSV + LINE + LINE[:20]), "line 3: has 3 fields, the header has 8"),
    "csv with a field too many": ("a.csv", content(CSV + LINE + "1," + LINE), "line 3: has 9 fields"),
    "csv with an open quote": ("a.csv", content(CSV + LINE + '536365,"851' + LINE), "line 3: is no readable csv"),
    "damaged utf-8": (
        "a.csv",
        content((CSV + LINE.replace("LANTERN", "CAFÉ")).encode() + b"\xc3"),
        "line 3: is damaged",
    ),
    "damaged utf-16": ("a.csv", content((CSV + LINE).encode("utf-16")[:-1]), "damaged UTF-16"),
    "half a parquet": ("a.parquet", parquet(0.6), "damaged or unreadable parquet"),
    "start of a parquet": ("a.parquet", content(b"PAR1"), "damaged or unreadable parquet"),
    "parquet without the columns": ("a.parquet", parquet(1, ["a"]), "missing columns"),
    "parquet of lists": ("a.parquet", nested, "export it flat"),
}


@pytest.mark.parametrize("name", BAD)
def test_one_clear_error(name: str, tmp_path: Path, workbook: Workbook) -> None:
    file, make, expected = BAD[name]
    path = tmp_path / file
    make(path, workbook)
    with pytest.raises(SourceError) as caught:
        read_file(path)
    said = str(caught.value)
    assert expected in said
    assert file in said
    assert said.count(file) == 1
    assert "\n" not in said


def test_a_sheet_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, workbook: Workbook) -> None:
    path = tmp_path / "a.xlsx"
    path.write_bytes(workbook({"Data": [HEADER, ROW]}))
    with pytest.raises(SourceError, match="has no sheet 'data'; it has: 'Data'"):
        read_file(path, "data")
    (tmp_path / "a.csv").write_text(CSV + LINE)
    with pytest.raises(SourceError, match="is a csv, which has no sheets"):
        read_file(tmp_path / "a.csv", "Data")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(CSV + LINE)
    path.chmod(0)
    with pytest.raises(SourceError, match="this user may not read it"):
        read_file(path)


def test_no_damage_is_read_as_other_values(tmp_path: Path, workbook: Workbook) -> None:
    """Any bit flipped, any length cut: the same rows come out, or one SourceError, and never a panic."""
    good = workbook({"s": [HEADER, *[[536365 + i, *ROW[1:]] for i in range(40)]]})
    path = tmp_path / "a.xlsx"
    path.write_bytes(good)
    expected = read_file(path).rows
    rng = random.Random(20101201)
    refused = 0
    for _ in range(300):
        damaged = bytearray(good)
        damaged[rng.randrange(len(good))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged if rng.random() < 0.8 else damaged[: rng.randrange(1, len(good))])
        try:
            assert read_file(path).rows.equals(expected)
        except SourceError:
            refused += 1
    assert refused > 100


def test_nothing_of_them_is_loaded(tmp_path: Path, workbook: Workbook, database_url: str, count: Count) -> None:
    for number, (file, make, expected) in enumerate(BAD.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        make(folder / file, workbook)
        with pytest.raises(SourceError) as caught:
            ingest(folder / file, database_url)
        assert expected in str(caught.value)
    assert count() == (0, 0, 0)


def test_a_header_error_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("InvoiceNo,StockCode\n1,2\n")
    with pytest.raises(HeaderError) as caught:
        read_file(path)
    assert len(caught.value.missing) == 6
