"""From text to values: what counts as a whole number, a price, a date.

Laws:
- A pattern decides, not a library's leniency. What a pattern does not fit becomes null here and a dead letter later,
  never a guess: 13/12/2010 is no date in the US style of this data set.
- Each distinct value is looked at once: a column of invoices repeats itself, and most columns are as they should be.
"""

from __future__ import annotations

import polars as pl

from premortem.systems.retail.repeats import each_run

# What may surround a value without being part of it: blanks, the no-break space, a byte order mark.
PADDING = " \t\r\n\u00a0\ufeff"
_BARE = rf"(?s)^([^{PADDING}](.*[^{PADDING}])?)?$"
INTEGER = r"^[+-]?[0-9]{1,18}(\.0*)?$"
CUSTOMER = r"^[0-9]{1,18}(\.0*)?$"
NUMBER = r"^[+-]?([0-9]{1,15}(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,2})?$"
ISO_DATE = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([ T][0-9]{2}:[0-9]{2}(:[0-5][0-9](\.[0-9]{1,9})?)?)?$"
US_DATE = r"^[0-9]{1,2}/[0-9]{1,2}/[0-9]{4}( [0-9]{1,2}:[0-9]{2}(:[0-5][0-9])?)?$"
# Days since 1899-12-30: five digits are the years 1927 to 2173.
SERIAL_DATE = r"^[0-9]{5}(\.[0-9]+)?$"

_ISO_FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
_US_FORMATS = ("%m/%d/%Y %H:%M", "%m/%d/%Y %H:%M:%S", "%m/%d/%Y")


def cast(rows: pl.DataFrame) -> pl.DataFrame:
    """The eight columns as values (null where they are none), `price` for the price as a float, and `source_row`.

    `unitprice` stays text that PostgreSQL reads as numeric, so no digit is lost on the way through a float.
    """
    text = rows.get_column
    price = _fitting(text("unitprice"), NUMBER)
    return pl.DataFrame(
        [
            _code(text("invoiceno")),
            _code(text("stockcode")),
            text("description"),
            _whole(text("quantity"), INTEGER, r"^-?[0-9]{1,18}$"),
            each_run(text("invoicedate"), _dates),
            price,
            _whole(text("customerid"), CUSTOMER, r"^[0-9]{1,18}$"),
            _bare(text("country")),
            text("source_row"),
            price.cast(pl.Float64, strict=False).alias("price"),
        ]
    )


def _fits(text: pl.Series, pattern: str) -> bool:
    return bool(text.unique().str.contains(pattern).all())  # nulls do not count


def _bare(text: pl.Series) -> pl.Series:
    """`text` without what may surround it."""
    return text if _fits(text, _BARE) else text.str.strip_chars(PADDING)


def _fitting(text: pl.Series, pattern: str) -> pl.Series:
    """`text` without what may surround it, and null where it does not fit. Most columns fit as they are."""
    if _fits(text, pattern):
        return text
    bare = _bare(text)
    return bare.to_frame().select(pl.when(pl.col(text.name).str.contains(pattern)).then(text.name)).to_series()


def _code(text: pl.Series) -> pl.Series:
    bare = _bare(text)
    # 536365 is a number in the workbook; other programs hand it on as "536365.0".
    if bare.unique().str.contains(".", literal=True).any():
        return bare.str.replace(r"^([0-9]+)\.0+$", "${1}")
    return bare


def _whole(text: pl.Series, pattern: str, plain: str) -> pl.Series:
    if _fits(text, plain):
        return text.cast(pl.Int64, strict=False)
    return _fitting(text, pattern).str.replace(r"\.0*$", "").str.strip_prefix("+").cast(pl.Int64, strict=False)


def _dates(text: pl.Series) -> pl.Series:
    found = _parsed(text, ISO_DATE, _ISO_FORMATS)
    if found.null_count() > text.null_count():  # padding and the other spellings cost time only where they occur
        bare = _bare(text)
        for other in (_parsed(bare, ISO_DATE, _ISO_FORMATS), _parsed(bare, US_DATE, _US_FORMATS), _serials(bare)):
            found = found.zip_with(found.is_not_null(), other)
    return found


def _parsed(text: pl.Series, pattern: str, formats: tuple[str, ...]) -> pl.Series:
    fitting = pl.when(pl.col(text.name).str.contains(pattern)).then(pl.col(text.name))
    tries = [fitting.str.to_datetime(each, strict=False, time_unit="us") for each in formats]
    frame = text.to_frame()
    found = frame.select(tries[0]).to_series()
    for one_more in tries[1:]:
        if found.null_count() == text.null_count():
            break
        found = found.zip_with(found.is_not_null(), frame.select(one_more).to_series())
    return found


def _serials(text: pl.Series) -> pl.Series:
    name = text.name
    days = pl.when(pl.col(name).str.contains(SERIAL_DATE)).then(pl.col(name)).cast(pl.Float64, strict=False)
    # A serial is a float: its seconds are exact only after rounding.
    seconds = (days * 86_400).round(0).cast(pl.Int64)
    start = pl.datetime(1899, 12, 30, time_unit="us")
    return text.to_frame().select((start + pl.duration(seconds=seconds)).alias(name)).to_series()
