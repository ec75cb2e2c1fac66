"""A function of a column, worked out once for what repeats itself: invoices come with many equal values."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

Function = Callable[[pl.Series], pl.Series]


def each_once(values: pl.Series, function: Function) -> pl.Series:
    """`function` of all values, worked out once for each that occurs, wherever it stands."""
    unique = values.unique()
    made = pl.DataFrame([unique, function(unique).alias("made")])
    joined = values.to_frame().join(made, on=values.name, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column("made").alias(values.name)


def each_run(values: pl.Series, function: Function) -> pl.Series:
    """The same where equal values stand together, as the dates of an invoice's lines do: a third of the time."""
    runs = values.rle().struct.field("value").alias(values.name)
    return function(runs).gather(values.rle_id())
