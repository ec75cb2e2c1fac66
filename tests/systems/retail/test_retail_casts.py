"""A pattern decides what is a value: what a library would be lenient about is none."""

from __future__ import annotations

import polars as pl
import pytest

from premortem.systems.retail.casts import cast
from premortem.systems.retail.columns import NAMES

GOOD = {
    "invoiceno": "536365", "stockcode": "85123A", "description": "LANTERN", "quantity": "6",
    "invoicedate": "2010-12-01 08:26:00", "unitprice": "2.55", "customerid": "17850", "country": "France",
}  # fmt: skip


def value(name: str, text: str) -> object:
    """What the cell comes to, beside a good one: a column of one kind takes another way than a mixed one."""
    columns = {each: [GOOD[each], text if each == name else GOOD[each]] for each in NAMES}
    rows = pl.DataFrame({**columns, "source_row": [2, 3]}, schema_overrides={"source_row": pl.Int64})
    return cast(rows).get_column("price" if name == "unitprice" else name).to_list()[1]


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("quantity", ["2.5", "1e2", "0x10", "1_000", "1,000", "six", "6 6", "--6", "6.0.0", "٦", "1" * 19]),
        ("customerid", ["-17850", "+17850", "17850.5", "1e4", "1_000", "17 850"]),
        ("unitprice", ["abc5", "5abc", "0x10", "1_000", "1,5", "£5", "nan", "inf", "1e", "1e100", ".", "--5", "5 5"]),
        (
            "invoicedate",
            [
                "2010-1-2", "2010-12-1", "10-12-01", "2010-13-01", "2010-02-30", "13/12/2010 08:26", "2010-12-01 8:26",
                "2010-12-01 08:60", "2010-12-01 08:26:00 ?", "2010-12-01x", "1/2/10", "2010/12/01", "01.12.2010",
                "1234", "123456", "40513,5",
            ],
        ),
    ],
)  # fmt: skip
def test_what_is_none(name: str, texts: list[str]) -> None:
    assert {text: value(name, text) for text in texts} == dict.fromkeys(texts)


@pytest.mark.parametrize(
    ("name", "texts", "same"),
    [
        ("quantity", ["6", "+6", "6.", "6.0", " 6 ", "\u00a06"], 6),
        ("customerid", ["17850", "17850.0", " 17850"], 17850),
        ("unitprice", ["2.5", "+2.5", "02.50", "25e-1", " 2.5"], 2.5),
    ],
)
def test_what_is_the_same(name: str, texts: list[str], same: object) -> None:
    assert {text: value(name, text) for text in texts} == dict.fromkeys(texts, same)
