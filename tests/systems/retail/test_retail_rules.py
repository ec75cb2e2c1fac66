# ruff: noqa: DTZ001 - the dates of the file are wall clock, without a zone
"""Every row lands in exactly one heap, and the reasons given are right: judged by plain Python written apart."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from premortem.systems.retail.columns import COLUMNS, NAMES
from premortem.systems.retail.grid import Table
from premortem.systems.retail.rules import RULES, Limits, classify

NOW = datetime(2011, 12, 10)
LIMITS = Limits.at(NOW)
LABELS = tuple(column.source for column in COLUMNS)
GOOD = ("536365", "85123A", "LANTERN", "6", "2010-12-01 08:26:00", "2.55", "17850", "United Kingdom")
Row = tuple[str | None, ...]


def table(*rows: Row) -> Table:
    frame = pl.DataFrame(list(rows), schema=dict.fromkeys(NAMES, pl.String()), orient="row")
    return Table(frame.with_row_index("source_row", 2).with_columns(pl.col("source_row").cast(pl.Int64)), LABELS, ())


def judge(row: Row) -> set[str]:
    cells = dict(zip(NAMES, row, strict=True))
    broken = set()
    bare = {name: (value or "").strip(" \t\r\n\u00a0\ufeff") for name, value in cells.items()}
    broken |= {f"{name}_present" for name, value in bare.items() if not value and name != "customerid"}
    broken |= {
        f"{name}_without_nul"
        for name in ("invoiceno", "stockcode", "description", "country")
        if "\0" in (cells[name] or "")
    }
    if bare["quantity"]:
        if re.fullmatch(r"[+-]?[0-9]{1,18}(\.0*)?", bare["quantity"]):
            quantity = int(bare["quantity"].split(".")[0])
            if quantity == 0:
                broken.add("quantity_not_zero")
            if abs(quantity) > 100_000:
                broken.add("quantity_in_range")
        else:
            broken.add("quantity_is_integer")
    if bare["customerid"] and not re.fullmatch(r"[0-9]{1,18}(\.0*)?", bare["customerid"]):
        broken.add("customerid_is_integer")
    return broken | judge_price(bare["unitprice"]) | judge_date(bare["invoicedate"])


def judge_price(text: str) -> set[str]:
    if not text:
        return set()
    if not re.fullmatch(r"[+-]?([0-9]{1,15}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?", text):
        return {"unitprice_is_number"}
    price = float(text)
    if price < 0:
        return {"unitprice_not_negative"}
    return {"unitprice_not_above_max"} if price > 10_000 else set()


def judge_date(text: str) -> set[str]:
    if not text:
        return set()
    date = read_date(text)
    if date is None:
        return {"invoicedate_is_date"}
    if date < datetime(2000, 1, 1):
        return {"invoicedate_not_too_old"}
    return {"invoicedate_not_in_future"} if date > NOW else set()


def read_date(text: str) -> datetime | None:
    iso = re.fullmatch(
        r"([0-9]{4})-([0-9]{2})-([0-9]{2})(?:[ T]([0-9]{2}):([0-9]{2})(?::([0-5][0-9])(?:\.([0-9]{1,9}))?)?)?", text
    )
    us = re.fullmatch(r"([0-9]{1,2})/([0-9]{1,2})/([0-9]{4})(?: ([0-9]{1,2}):([0-9]{2})(?::([0-5][0-9]))?)?", text)
    try:
        if iso:
            year, month, day, hour, minute, second = (int(part or 0) for part in iso.groups()[:6])
            micro = int(((iso.group(7) or "") + "000000")[:6])
            return datetime(max(year, 1), month, day, hour, minute, second, micro)
        if us:
            month, day, year, hour, minute, second = (int(part or 0) for part in us.groups())
            return datetime(max(year, 1), month, day, hour, minute, second)
    except ValueError:
        return None
    if re.fullmatch(r"[0-9]{5}(\.[0-9]+)?", text):
        return datetime(1899, 12, 30) + timedelta(seconds=round(float(text) * 86_400))
    return None


def pieces(*often: str) -> st.SearchStrategy[str | None]:
    anything = st.text(alphabet="0123456789.-+/:T eECé€\0\t\u00a0'\"\\,{}", max_size=12)
    return st.one_of(st.sampled_from(often), st.none(), anything, st.sampled_from(often).map(lambda text: f" {text} "))


ROWS = st.tuples(
    pieces("536365", "C536379", "A563185", "536365.0"),
    pieces("85123A", "84029", "POST", "84029.0"),
    pieces("LANTERN", " LAMP ", "", "\0", 'a "b", c\nd'),
    pieces(
        "6", "-1", "0", "6.0", "6.5", "100000", "100001", "-100001", "1e3", "9" * 18, "9" * 19, "+4", "1_000", "yes"
    ),
    pieces(
        "2010-12-01 08:26:00",
        "2010-12-01T08:26",
        "2010-12-01",
        "12/1/2010 8:26",
        "13/12/2010 8:26",
        "2010-02-30",
        "40513.3513888889",
        "40513",
        "1999-12-31",
        "2011-12-10",
        "2011-12-10 00:00:00.000001",
        "2012-01-01",
        "0000-01-01",
        "2010-12-01 08:26:60",
        "2010-12-01 24:00:00",
        "99999",
        "2010-12-01 08:26:00.123456789",
    ),
    pieces("2.55", "0", "-0.01", "10000", "10000.01", "1e4", "1e99", "nan", "inf", "2,55", ".5", "5.", "1.2.3", "0x10"),
    pieces("17850", "17850.0", "", "abc", "-5", "17850.5"),
    pieces("United Kingdom", "EIRE"),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.one_of(ROWS, st.just(GOOD)), min_size=1, max_size=8))
def test_every_row_is_good_or_dead_for_the_right_reasons(rows: list[Row]) -> None:
    done = classify(table(*rows), LIMITS)
    dead = {int(letter["source_row"]): letter for letter in done.dead.iter_rows(named=True)}
    good = set(done.good.get_column("source_row"))
    assert len(dead) == done.dead.height
    assert good.isdisjoint(dead)
    assert good | set(dead) == set(range(2, 2 + len(rows)))
    for number, row in enumerate(rows, start=2):
        expected = judge(row)
        assert (number in dead) == bool(expected), (row, expected)
        if expected:
            letter = dead[number]
            failed = letter["failed_rules"].strip("{}").split(",")
            assert set(failed) == expected
            assert letter["rule"] == failed[0]
            cells = dict(zip(NAMES, ((cell.replace("\0", "␀") if cell else cell) for cell in row), strict=True))
            assert letter["value"] == cells[letter["column_name"]]
            assert json.loads(letter["raw"]) == dict(zip(LABELS, cells.values(), strict=True))
    assert sum(number for _, number in done.dead_by_rule) == len(dead)


def test_the_values_of_good_rows() -> None:
    rows = table(
        GOOD,
        ("536365.0", "84029.0", " padded ", "6.0", "12/1/2010 8:26", " 2.550 ", "17850.0", " EIRE "),
        ("C536379", "D", "x", "-1", "40513.3513888889", "5.", None, "EIRE"),
    )
    when = datetime(2010, 12, 1, 8, 26)
    assert classify(rows, LIMITS).good.rows() == [
        ("536365", "85123A", "LANTERN", 6, when, "2.55", 17850, "United Kingdom", 2),
        ("536365", "84029", " padded ", 6, when, "2.550", 17850, "EIRE", 3),
        ("C536379", "D", "x", -1, when, "5.", None, "EIRE", 4),
    ]


def test_every_rule_can_be_broken() -> None:
    broken: set[str] = set()
    for number, name in enumerate(NAMES):
        for value in (None, "\0", "x", "0", "-1", "100001", "2099-01-01", "1999-01-01"):
            row = (*GOOD[:number], value, *GOOD[number + 1 :])
            letters = classify(table(row), LIMITS).dead
            assert letters.height == (1 if judge(row) else 0), (name, value)
            broken |= set(letters.get_column("rule"))
    assert broken == {rule.name for rule in RULES}


def test_now_without_a_zone_is_the_files_clock_and_with_one_the_earliest_on_earth() -> None:
    assert Limits.at(datetime(2011, 1, 1)).latest == datetime(2011, 1, 1)
    assert Limits.at(datetime(2011, 1, 1, tzinfo=UTC)).latest == datetime(2011, 1, 1, 14)
