from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.systems.retail.columns import COLUMNS, match
from premortem.systems.retail.errors import HeaderError

HEADER = [column.source for column in COLUMNS]


def test_finds_the_columns_in_any_order() -> None:
    found = match(list(reversed(HEADER)))
    assert found.positions == (7, 6, 5, 4, 3, 2, 1, 0)
    assert found.extra == ()


def test_spelling_does_not_matter() -> None:
    header = [
        " Invoice No ",
        "stock_code",
        "DESCRIPTION",
        "Quantity",
        "invoice-date",
        "unit_price",
        "Customer ID",
        "\ufeffcountry",
    ]
    assert match(header).positions == tuple(range(8))


def test_all_that_is_missing_is_said_at_once() -> None:
    with pytest.raises(HeaderError) as caught:
        match(["InvoiceNo", "Unit Prise", "Country"])
    assert caught.value.missing == ("StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID")
    said = str(caught.value)
    assert all(name in said for name in caught.value.missing)
    assert "rename 'Unit Prise' to UnitPrice" in said
    assert caught.value.found == ("InvoiceNo", "Unit Prise", "Country")


def test_doubled_and_missing_are_one_error() -> None:
    with pytest.raises(HeaderError) as caught:
        match([*HEADER[:7], "quantity"])
    assert caught.value.missing == ("Country",)
    assert caught.value.doubled == ("Quantity",)


def test_extra_columns_are_named() -> None:
    assert match([*HEADER, "Margin", None]).extra == ("Margin", "column 10 (no name)")


@given(st.permutations([*HEADER, "Extra"]))
def test_positions_point_to_the_columns(header: list[str]) -> None:
    found = match(header)
    assert [header[place] for place in found.positions] == HEADER
