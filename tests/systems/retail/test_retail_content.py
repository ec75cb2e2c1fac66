"""Sameness by content: the same rows in another export, as many of them as there are, are there once."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.systems.retail import content
from premortem.systems.retail.columns import NAMES
from premortem.systems.retail.content import Occurrences, keyed
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.run import run
from premortem.systems.retail.sample import write_sample

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
LINE = "536365,{code},LAMP,{quantity},2010-12-01 08:26,{price},{customer},EIRE\n"


def multiset(url: str) -> Counter[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return Counter(
            connection.execute(
                "select invoiceno, stockcode, description, quantity, invoicedate, trim_scale(unitprice), customerid,"
                " country from bronze.raw_transactions"
            ).fetchall()
        )


def test_another_export_of_the_same_rows(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "25")
    one = write_sample(tmp_path / "a.csv", 100, dirty=False).path
    head, *lines = one.read_text().splitlines(keepends=True)
    one.write_text("".join([head, *lines, *lines[:30], *lines[:10]]))
    assert run([one], database_url, by="content").files[0].loaded == 140  # a line may be meant twice
    before = multiset(database_url)
    shuffled = [*lines, *lines[:30], *lines[:5]]
    random.Random(1).shuffle(shuffled)
    two = tmp_path / "b.csv"
    two.write_text("".join([head, *shuffled]))
    (file,) = run([two], database_url, by="content").files
    assert (file.read, file.loaded, file.known) == (135, 0, 135)
    assert multiset(database_url) == before
    three = tmp_path / "c.csv"
    three.write_text(
        "".join([head, *lines[:10], *lines[:10], *lines[:10], *lines[:10], lines[0].replace("536", "999")])
    )
    (file,) = run([three], database_url, by="content").files
    assert (file.loaded, file.known) == (11, 30)


def test_rows_that_came_by_file_are_known_too(tmp_path: Path, database_url: str) -> None:
    path = write_sample(tmp_path / "a.csv", 100, seed=2).path
    ingest(path, database_url)
    other = tmp_path / "b.parquet"
    pl.read_csv(path, infer_schema=False).write_parquet(other)
    (file,) = run([other], database_url, by="content").files
    assert (file.loaded, file.known) == (0, file.read - file.dead)


def test_two_workers_bring_the_same_rows(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREMORTEM_RETAIL_CHUNK_ROWS", "200")
    one = write_sample(tmp_path / "0.csv", 2000, dirty=False).path
    head, *lines = one.read_text().splitlines(keepends=True)
    files = [one]
    for number in range(1, 4):
        files.append(tmp_path / f"{number}.csv")
        random.Random(number).shuffle(lines)
        files[-1].write_text("".join([head, *lines]))
    report = run(files, database_url, by="content", workers=4)
    assert sum(file.loaded for file in report.files) == 2000
    assert sum(file.known for file in report.files) == 6000
    assert not report.failed


PRICES = st.from_regex(r"\A[+-]?[0-9]{1,5}(\.[0-9]{0,6})?\Z") | st.from_regex(r"\A-?\.[0-9]{1,4}([eE][+-]?[0-9])?\Z")


@settings(max_examples=60, deadline=None)
@given(st.lists(PRICES, min_size=1, max_size=20))
def test_a_price_is_written_as_the_database_writes_it(prices_url: str, prices: list[str]) -> None:
    ours = content._trimmed(pl.Series("unitprice", prices)).to_list()
    with psycopg.connect(prices_url) as connection:
        theirs = connection.execute(
            "select trim_scale(p::numeric)::text from unnest(%s::text[]) with ordinality as t(p, n) order by n",
            [prices],
        ).fetchall()
    assert content._trimmed(pl.Series("unitprice", prices)).name == "unitprice"
    assert ours == [text for (text,) in theirs]


@pytest.fixture(scope="module")
def prices_url(postgres_url: str) -> str:
    return postgres_url


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.integers(0, 5), max_size=8), max_size=8))
def test_occurrences_count_over_chunks(chunks: list[list[int]]) -> None:
    seen, counted = Occurrences(), Counter[int]()
    for chunk in chunks:
        hashes = pl.Series("hash", chunk, dtype=pl.UInt64)
        assert seen.before(hashes).to_list() == [counted[each] for each in chunk]
        seen.add(hashes)
        counted.update(chunk)


def test_keys_of_the_database_and_of_polars_are_the_same(tmp_path: Path, database_url: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        HEAD
        + LINE.format(code="85123A", quantity=6, price="2.550", customer="17850.0")
        + LINE.format(code="85123A", quantity=6, price="+2.55", customer="17850")
        + LINE.format(code="é", quantity=-6, price="1e-3", customer="")
        + LINE.format(code="b", quantity=6, price="0.00", customer="")
    )
    run([path], database_url, by="content")
    with psycopg.connect(database_url) as connection:
        ours = connection.execute("select key, occurrence from bronze.content_keys order by 1, 2").fetchall()
        connection.execute("delete from bronze.content_keys")
        connection.execute(content._KEY_ALL.encode())
        theirs = connection.execute("select key, occurrence from bronze.content_keys order by 1, 2").fetchall()
    assert ours == theirs
    assert sorted(occurrence for _, occurrence in ours) == [1, 1, 1, 2]
    assert keyed(
        pl.DataFrame(schema=dict.fromkeys(NAMES, pl.String())).with_columns(pl.col("invoicedate").str.to_datetime()),
        Occurrences(),
    ).is_empty()
