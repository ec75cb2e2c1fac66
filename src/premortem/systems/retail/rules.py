"""What makes a row an invoice line: the rules as a table, and the sorting of rows by it.

Laws:
- Every row is either good or dead, never both, and a dead one names every rule that it breaks, in table order.
- A rule about a value is silent where there is no value: that is the business of the rules above it.
- "Now" is an argument. The file's dates have no time zone, so a row is from the future only when no clock on
  Earth shows that time yet (UTC+14 is the earliest); a `now` without a zone is taken as the file's own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from premortem.systems.retail.casts import PADDING, cast
from premortem.systems.retail.columns import COLUMNS, NAMES
from premortem.systems.retail.grid import Table

_EARLIEST_ZONE = timedelta(hours=14)
_TEXT = tuple(column.name for column in COLUMNS if column.kind == "text")


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of a believable row. `latest` is the last moment that is not in the future, without a zone."""

    latest: datetime
    earliest: datetime = datetime(2000, 1, 1)  # noqa: DTZ001 - as the file's dates: wall clock, no zone
    price_max: float = 10_000.0
    quantity_max: int = 100_000

    @classmethod
    def at(cls, now: datetime, *, price_max: float = 10_000.0, quantity_max: int = 100_000) -> Limits:
        """The limits at `now`."""
        latest = now if now.tzinfo is None else now.astimezone(UTC).replace(tzinfo=None) + _EARLIEST_ZONE
        return cls(latest, price_max=price_max, quantity_max=quantity_max)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: whose `column` it judges, what it `says`, and the expression that is true where it is `broken`.

    The expression sees the row as text (`invoiceno`) and as values (`value_invoiceno`, `value_price`).
    """

    name: str
    column: str
    says: str
    broken: Callable[[Limits], pl.Expr]


def _missing(name: str) -> pl.Expr:
    return pl.col(name).is_null() | (pl.col(name).str.strip_chars(PADDING) == "")


def _perhaps_missing(name: str) -> pl.Expr:
    """True for all that is missing, and for what begins with padding: half the price."""
    return pl.col(name).is_null() | ~pl.col(name).str.contains(rf"^[^{PADDING}]")


def _present(name: str) -> Rule:
    return Rule(f"{name}_present", name, "must not be empty", lambda _: _missing(name))


def _readable(name: str, kind: str, value: str) -> Rule:
    return Rule(
        f"{name}_is_{kind}",
        name,
        f"must be read as {kind}",
        lambda _: ~_missing(name) & pl.col(f"value_{value}").is_null(),
    )


def _storable(name: str) -> Rule:
    return Rule(
        f"{name}_without_nul",
        name,
        "must not contain the NUL character, which PostgreSQL cannot store",
        lambda _: pl.col(name).str.contains("\0", literal=True),
    )


RULES = (
    *(_present(column.name) for column in COLUMNS if column.required),
    _readable("quantity", "integer", "quantity"),
    _readable("invoicedate", "date", "invoicedate"),
    _readable("unitprice", "number", "price"),
    _readable("customerid", "integer", "customerid"),
    *(_storable(name) for name in _TEXT),
    Rule(
        "quantity_not_zero",
        "quantity",
        "must not be 0",
        lambda _: pl.col("value_quantity") == 0,
    ),
    Rule(
        "quantity_in_range",
        "quantity",
        "must be between -quantity_max and quantity_max",
        lambda limits: ~pl.col("value_quantity").is_between(-limits.quantity_max, limits.quantity_max),
    ),
    Rule(
        "unitprice_not_negative",
        "unitprice",
        "must be 0 or above",
        lambda _: pl.col("value_price") < 0,
    ),
    Rule(
        "unitprice_not_above_max",
        "unitprice",
        "must be price_max or below",
        lambda limits: pl.col("value_price") > limits.price_max,
    ),
    Rule(
        "invoicedate_not_too_old",
        "invoicedate",
        "must not be before the year 2000",
        lambda limits: pl.col("value_invoicedate") < pl.lit(limits.earliest),
    ),
    Rule(
        "invoicedate_not_in_future",
        "invoicedate",
        "must not be in the future",
        lambda limits: pl.col("value_invoicedate") > pl.lit(limits.latest),
    ),
)


# The rules about values cost nothing; the others are about text, and read all of it.
_ABOUT_VALUES = tuple(
    rule for rule in RULES if rule.name.endswith(("_zero", "_range", "_negative", "_max", "_old", "_future"))
)


@dataclass(frozen=True, slots=True)
class Sorted:
    """`good` rows as values; `dead` ones with rule, column_name, value, source_row, failed_rules, raw."""

    good: pl.DataFrame
    dead: pl.DataFrame
    dead_by_rule: tuple[tuple[str, int], ...]


def classify(table: Table, limits: Limits) -> Sorted:
    """Sort the rows of `table` into good and dead."""
    values = cast(table.rows)
    both = table.rows.hstack([each.alias(f"value_{each.name}") for each in values if each.name != "source_row"])
    # Two looks: a quick one that lets no dead row by, and all the rules for the few that it holds.
    suspect = both.select(_suspect(limits, nul=table.nul).fill_null(value=False)).to_series()
    held = both.filter(suspect)
    broken = held.select(rule.broken(limits).fill_null(value=False).alias(rule.name) for rule in RULES)
    is_dead = broken.select(pl.any_horizontal(pl.all())).to_series()
    rows = held.filter(is_dead)
    places = suspect.arg_true().filter(is_dead)
    good = values.filter(pl.repeat(value=True, n=values.height, eager=True).scatter(places, values=False))
    dead = _letters(rows.select(table.rows.columns), broken.filter(is_dead), table.labels)
    counted = dead.group_by("rule", maintain_order=True).len().sort("len", descending=True, maintain_order=True)
    return Sorted(good.drop("price"), dead, tuple(counted.iter_rows()))


def _suspect(limits: Limits, *, nul: bool) -> pl.Expr:
    """True for every row that breaks a rule, and for some that do not."""
    return pl.any_horizontal(
        *(pl.col(f"value_{name}").is_null() for name in ("quantity", "invoicedate", "price")),
        *(pl.col(f"value_{name}").is_null() for name in ("invoiceno", "stockcode", "country")),
        *(pl.col(f"value_{name}") == "" for name in ("invoiceno", "stockcode", "country")),
        _perhaps_missing("description"),
        pl.col("value_customerid").is_null() & pl.col("customerid").is_not_null(),
        *(pl.col(name).str.contains("\0", literal=True) for name in _TEXT if nul),
        *(rule.broken(limits) for rule in _ABOUT_VALUES),
    )


def _letters(rows: pl.DataFrame, broken: pl.DataFrame, labels: tuple[str, ...]) -> pl.DataFrame:
    # Neither text nor jsonb of PostgreSQL can hold NUL: the dead letter shows the picture of one instead.
    shown = rows.with_columns(pl.col(NAMES).str.replace_all("\0", "\u2400", literal=True))
    failed = broken.select(
        pl.concat_list(pl.when(rule.name).then(pl.lit(rule.name)) for rule in RULES).list.drop_nulls().alias("failed")
    ).to_series()
    rule = failed.list.first()
    column = rule.replace_strict({rule.name: rule.column for rule in RULES}, return_dtype=pl.String)
    picked = shown.with_columns(column.alias("column_name"))
    value = pl.coalesce(pl.when(pl.col("column_name") == name).then(pl.col(name)) for name in NAMES)
    return picked.select(
        rule.alias("rule"),
        "column_name",
        value.alias("value"),
        "source_row",
        (pl.lit("{") + failed.list.join(",") + "}").alias("failed_rules"),
        pl.struct(pl.col(name).alias(label) for name, label in zip(NAMES, labels, strict=True))
        .struct.json_encode()
        .alias("raw"),
    )
