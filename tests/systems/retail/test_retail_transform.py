"""The star and the marts: sums that agree, steps that happen whole or not at all, months that come and go."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.ports import ManualClock
from premortem.systems.retail.database import connect
from premortem.systems.retail.errors import DatabaseError, RetentionError, TransformError
from premortem.systems.retail.retention import retire
from premortem.systems.retail.run import run
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import read_settings
from premortem.systems.retail.status import status
from premortem.systems.retail.steps import read_step, run_step, statements
from premortem.systems.retail.target import parse_target
from premortem.systems.retail.transform import Span, transform

HEAD = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"
Lines = Callable[..., Path]
STAR = (
    "select date_key::text, stockcode, customer_key, lines, units_sold, units_returned, units_adjusted, revenue::text,"
    " refunds::text, description from silver.fact_sales_daily join silver.dim_product using (product_key)"
    " order by 1, 2, 3"
)


@pytest.fixture
def lines(tmp_path: Path) -> Lines:
    def to_file(name: str, *rows: str) -> Path:
        path = tmp_path / name
        path.write_text(HEAD + "".join(f"{row}\n" for row in rows), encoding="utf-8")
        return path

    return to_file


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode()).fetchall()


def loaded(url: str, *files: Path) -> None:
    report = run(files, url)
    assert not report.failed, report


def test_the_star_of_a_few_lines(lines: Lines, database_url: str) -> None:
    loaded(
        database_url,
        lines(
            "a.csv",
            "1,85123A,LAMP,6,2010-12-01 08:26,2.5,17850,EIRE",
            "1,85123A,LAMP,4,2010-12-01 08:26,2.5,17850,EIRE",
            "C2,85123A,LAMP,-1,2010-12-01 09:00,2.5,17850,EIRE",
            "3,85123A,damaged,-7,2010-12-02 09:00,0,,EIRE",
            "4,POST,POSTAGE,1,2011-01-31 23:59,18,12583,France",
            "5,85123A,LAMP RED,1,2011-01-02 10:00,3,17850,Germany",
        ),
    )
    silver, gold = transform(database_url)
    assert (silver.step, silver.months) == ("silver", (date(2010, 12, 1), date(2011, 1, 1)))
    assert gold.step == "gold"
    assert rows(database_url, STAR) == [
        ("2010-12-01", "85123A", 17850, 3, 10, 1, 0, "25.0", "2.5", "LAMP RED"),
        ("2010-12-02", "85123A", 0, 1, 0, 0, 7, "0", "0", "LAMP RED"),
        ("2011-01-02", "85123A", 17850, 1, 1, 0, 0, "3", "0", "LAMP RED"),
        ("2011-01-31", "POST", 12583, 1, 1, 0, 0, "18", "0", "POSTAGE"),
    ]
    customers = "select customer_key, country, first_at::date::text from silver.dim_customer order by 1"
    assert rows(database_url, customers) == [
        (0, "unknown", "2010-12-02"),
        (12583, "France", "2011-01-31"),
        (17850, "Germany", "2010-12-01"),
    ]
    assert rows(database_url, "select count(*), bool_or(is_weekend) from silver.dim_date") == [(62, True)]
    daily = "select date_key::text, customers, net from gold.daily_revenue order by 1 limit 2"
    assert rows(database_url, daily) == [("2010-12-01", 1, Decimal("22.5")), ("2010-12-02", 0, Decimal(0))]
    top = "select month::text, place, stockcode, units from gold.top_products order by 1, 2"
    assert rows(database_url, top) == [("2010-12-01", 1, "85123A", 9), ("2011-01-01", 1, "85123A", 1)]
    assert rows(database_url, "select stockcode, units_returned, rate::text from gold.returns") == [
        ("85123A", 1, "0.1000")
    ]


def test_of_nothing_sold_there_is_no_rate(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "C2,85123A,LAMP,-1,2010-12-01 09:00,2.5,17850,EIRE"))
    transform(database_url)
    assert rows(database_url, "select units_sold, units_returned, rate from gold.returns") == [(0, 1, None)]


def test_every_fact_has_its_dimensions_by_the_database(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.5,17850,EIRE"))
    transform(database_url)
    with psycopg.connect(database_url) as connection:
        for bad in ("'2010-12-09', 99, 0", "'2010-12-09', 1, 99", "'2010-12-09', 1, 17850"):
            values = f"insert into silver.fact_sales_daily values ({bad}, 1, 1, 0, 0, 1, 0)"
            if bad.endswith("17850"):
                connection.execute(values.encode())
            else:
                with pytest.raises(psycopg.errors.ForeignKeyViolation), connection.transaction():
                    connection.execute(values.encode())


def test_only_what_has_changed_is_made_anew(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.5,17850,EIRE"))
    assert transform(database_url)[0].months == (date(2010, 12, 1),)
    assert transform(database_url)[0].months == ()
    loaded(database_url, lines("b.csv", "2,85123A,LAMP,1,2011-02-01 08:26,2.5,17850,EIRE"))
    assert transform(database_url)[0].months == (date(2011, 2, 1),)
    star = rows(database_url, STAR)
    (silver,) = transform(database_url, layers=["silver"], span=Span(date(2010, 12, 31), date(2011, 2, 1)))
    assert silver.months == (date(2010, 12, 1), date(2011, 2, 1))
    assert rows(database_url, STAR) == star


def test_a_late_line_does_not_bring_an_old_description_back(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,NEW,6,2011-06-01 08:26,2.5,17850,Germany"))
    transform(database_url)
    loaded(database_url, lines("b.csv", "1,85123A,OLD,6,2010-12-01 08:26,2.5,17850,EIRE"))
    transform(database_url)
    assert {row[-1] for row in rows(database_url, STAR)} == {"NEW"}
    assert rows(database_url, "select country from silver.dim_customer") == [("Germany",)]


def test_type_2_keeps_the_history(lines: Lines, database_url: str) -> None:
    file = lines(
        "a.csv",
        "1,85123A,LAMP,6,2010-12-01 08:26,2.5,17850,EIRE",
        "2,85123A,LAMP,6,2010-12-05 08:26,2.5,17850,EIRE",
        "3,85123A,damaged,-1,2010-12-06 08:26,0,,EIRE",
        "4,85123A,LAMP RED,6,2011-01-07 08:26,2.5,17850,EIRE",
    )
    loaded(database_url, file)
    transform(database_url, scd=2)
    versions = "select description, valid_from::text, valid_to::text from silver.dim_product order by valid_from"
    assert rows(database_url, versions) == [
        ("LAMP", "-infinity", "2011-01-07"),
        ("LAMP RED", "2011-01-07", "infinity"),
    ]
    assert [row[-1] for row in rows(database_url, STAR)] == ["LAMP", "LAMP", "LAMP", "LAMP RED"]
    loaded(database_url, lines("b.csv", "5,85123A,LAMP RED,1,2010-12-05 07:00,2.5,17850,EIRE"))
    transform(database_url, scd=2)
    assert sum(int(str(row[3])) for row in rows(database_url, STAR)) == 5
    with pytest.raises(ConfigurationError, match="made with type 2"):
        transform(database_url, scd=1)
    (silver, _) = transform(database_url, span=Span(date(2011, 1, 1), date(2011, 1, 1)))  # of the star's own kind
    assert silver.months == (date(2010, 12, 1), date(2011, 1, 1))
    transform(database_url, scd=1, rebuild=True)
    assert {row[-1] for row in rows(database_url, STAR)} == {"LAMP RED"}


def test_bronze_and_silver_agree(tmp_path: Path, database_url: str) -> None:
    loaded(database_url, *(write_sample(tmp_path / f"{seed}.csv", 2000, seed=seed).path for seed in (1, 2)))
    for kind in (1, 2):
        transform(database_url, scd=1 if kind == 1 else 2, rebuild=True)
        bronze = "select count(*)::bigint, sum(quantity * unitprice) from bronze.raw_transactions"
        silver = "select sum(lines)::bigint, sum(revenue - refunds) from silver.fact_sales_daily"
        gold = "select sum(lines)::bigint, sum(net) from gold.daily_revenue"
        assert rows(database_url, bronze) == rows(database_url, silver) == rows(database_url, gold)


# Steps


@given(
    st.lists(
        st.sampled_from(
            [
                "select 1",
                "-- a; b\nselect 2",
                "select ';'",
                "do $x$ begin; end; $x$",
                'select ";"',
                "/* ; */ select 3",
                "select $$;$$",
                "select 'it''s;'",
            ]
        ),
        max_size=6,
    )
)
def test_statements_end_where_they_end(parts: list[str]) -> None:
    text = "".join(f"{part};\n" for part in parts) + "-- the end;"
    found = list(statements(text))
    assert len(found) == len(parts)
    for statement, part in zip(found, parts, strict=True):
        assert part.endswith(statement.text)
        assert text.splitlines()[statement.line - 1].endswith(statement.text.split("\n")[0] + ";")


def step(url: str, folder: Path) -> int:
    with connect(parse_target(url), read_settings(url)) as session:
        count = run_step(session, "test", read_step([folder]))
        session.connection.commit()
    return count


@pytest.mark.parametrize(
    ("text", "statement", "line", "said"),
    [
        ("create table b (x int);\n\nselect\n  1 +\n  wrong;", 2, 5, 'column "wrong" does not exist'),
        ("create table b (x int);\nselec 1;", 2, 2, "syntax error"),
        ("create table b (x int);\ndo $$\nbegin\n  perform 1;\n  raise exception 'no';\nend $$;", 2, 5, "no"),
        ("-- why; not\nselect 1/0;", 1, 2, "division by zero"),
    ],
)
def test_a_failure_names_file_statement_and_line(  # noqa: PLR0913, PLR0917 - what is tried, what is expected, where
    text: str, statement: int, line: int, said: str, tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "010_a.sql").write_text("create table a (x int);")
    (tmp_path / "020_b.sql").write_text(text)
    with pytest.raises(TransformError, match=said) as caught:
        step(database_url, tmp_path)
    assert (caught.value.file, caught.value.statement, caught.value.line) == ("020_b.sql", statement, line)
    assert f"020_b.sql, statement {statement}, line {line}" in str(caught.value)
    assert rows(database_url, "select to_regclass('a'), to_regclass('b')") == [(None, None)]


def test_what_is_needed_and_what_is_made(tmp_path: Path, database_url: str) -> None:
    (tmp_path / "010_a.sql").write_text(
        "-- needs: bronze.nowhere, public.a\n-- makes: public.b\ncreate table b (x int);"
    )
    with pytest.raises(TransformError, match=r"010_a.sql: needs bronze.nowhere, public.a"):
        step(database_url, tmp_path)
    (tmp_path / "005_first.sql").write_text("-- makes: bronze.nowhere, public.a\ncreate table a (x int);")
    with pytest.raises(TransformError, match=r"005_first.sql: says that it makes bronze.nowhere"):
        step(database_url, tmp_path)
    (tmp_path / "005_first.sql").write_text(
        "-- makes: bronze.nowhere, public.a\n"
        "create table a (x int); create schema bronze; create table bronze.nowhere ();"
    )
    assert step(database_url, tmp_path) == 4


def test_without_silver_there_is_no_gold(database_url: str) -> None:
    with pytest.raises(TransformError, match=r"needs silver.fact_sales_daily, silver.retired"):
        transform(database_url, layers=["gold"])


def test_a_span_ends_after_it_begins() -> None:
    with pytest.raises(ConfigurationError, match="ends before it begins"):
        Span(date(2011, 2, 1), date(2011, 1, 1))


# Retention


def test_old_months_go_to_parquet_and_stay_out(lines: Lines, tmp_path: Path, database_url: str) -> None:
    loaded(
        database_url,
        lines(
            "a.csv",
            "1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE",
            "1,85123A,LAMP,6,2011-01-31 08:26,2.55,,EIRE",
            "1,85123A,LAMP,6,2011-03-01 08:26,2.55,17850,EIRE",
        ),
    )
    transform(database_url)
    gold = rows(database_url, "select * from gold.daily_revenue order by 1")
    clock = ManualClock(datetime(2011, 3, 3, tzinfo=UTC))
    heard: list[Event] = []
    with listening(heard.append):
        (one,) = retire(31, database_url, archive=tmp_path, clock=clock)
    assert (one.month, one.rows, heard[-1].get("rows")) == (date(2010, 12, 1), 1, 1)
    assert one.archive
    saved = pl.read_parquet(one.archive)
    assert one.archive.is_absolute()
    assert saved.rows()[0][:-1] == (date(2010, 12, 1), "85123A", "LAMP", 17850, 1, 6, 0, 0, Decimal("15.3"), Decimal(0))
    assert retire(31, database_url, archive=tmp_path, clock=clock) == ()
    assert retire(30, database_url, clock=clock)[0].archive is None
    late = lines("b.csv", "2,85123A,LAMP,1,2010-12-02 08:26,2.5,17850,EIRE")
    loaded(database_url, late)
    (silver, _) = transform(database_url)
    assert (silver.months, silver.left_out) == ((), (date(2010, 12, 1),))
    (silver, _) = transform(database_url)
    assert silver.left_out == ()
    (silver, _) = transform(database_url, span=Span(date(2010, 12, 1), date(2011, 3, 1)))
    assert silver.left_out == (date(2010, 12, 1), date(2011, 1, 1))
    assert [row[0] for row in rows(database_url, STAR)] == ["2011-03-01"]
    assert rows(database_url, "select * from gold.daily_revenue order by 1") == gold
    assert rows(database_url, "select month::text, fact_rows from silver.retired order by 1") == [
        ("2010-12-01", 1),
        ("2011-01-01", 1),
    ]


def test_a_folder_that_is_not_there_keeps_the_month(lines: Lines, tmp_path: Path, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE"))
    transform(database_url)
    with pytest.raises(ConfigurationError, match="is no folder"):
        retire(1, database_url, archive=tmp_path / "none")
    with pytest.raises(ConfigurationError, match="days=-1"):
        retire(-1, database_url)
    assert len(rows(database_url, STAR)) == 1


def test_a_month_that_the_marts_do_not_have_yet_stays(lines: Lines, tmp_path: Path, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE"))
    transform(database_url, layers=["silver"])
    with pytest.raises(RetentionError, match="there are no marts yet"):
        retire(1, database_url, archive=tmp_path)
    transform(database_url)
    loaded(database_url, lines("b.csv", "2,85123A,LAMP,1,2010-12-02 08:26,2.5,17850,EIRE"))
    with pytest.raises(RetentionError, match="bronze 2, silver 1, gold 1 lines"):
        retire(1, database_url, archive=tmp_path)
    transform(database_url)
    assert retire(1, database_url, archive=tmp_path)[0].rows == 2


def test_a_price_with_many_decimals_is_archived_whole(lines: Lines, tmp_path: Path, database_url: str) -> None:
    price = "0.000000000000123"
    loaded(database_url, lines("a.csv", f"1,85123A,LAMP,1,2010-12-01 08:26,{price},17850,EIRE"))
    transform(database_url)
    (one,) = retire(1, database_url, archive=tmp_path)
    assert one.archive
    assert pl.read_parquet(one.archive).get_column("revenue").to_list() == [Decimal(price)]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody may write, root neither")
def test_a_file_that_cannot_be_written_keeps_the_month(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE"))
    transform(database_url)
    with pytest.raises(RetentionError, match=r"cannot be written .* the month is still there"):
        retire(1, database_url, archive=Path("/proc"))
    assert len(rows(database_url, STAR)) == 1


def test_a_rebuild_does_not_drop_what_others_have_made(lines: Lines, database_url: str) -> None:
    loaded(database_url, lines("a.csv", "1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE"))
    transform(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("create view mine as select * from silver.fact_sales_daily")
    with pytest.raises(DatabaseError, match="view mine depends on"):
        transform(database_url, rebuild=True)
    assert rows(database_url, "select lines from mine") == [(1,)]


# Status


def test_status_tells_and_verifies(lines: Lines, database_url: str) -> None:
    assert status(database_url).files == ()
    loaded(database_url, lines("a.csv", *["1,85123A,LAMP,6,2010-12-01 08:26,2.55,17850,EIRE"] * 3))
    (file,) = status(database_url).files
    assert (file.source, file.complete, file.working, file.read, file.chunks) == ("a.csv", True, False, 3, 1)
    assert status(database_url, verify=True).wrong == ()
    with psycopg.connect(database_url) as connection:
        connection.execute("delete from bronze.raw_transactions where source_row = 2")
    assert status(database_url, verify=True).wrong == (file.batch,)
