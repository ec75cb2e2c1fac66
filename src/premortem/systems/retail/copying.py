"""COPY into a table of schema bronze: a frame becomes csv, and the database counts.

Law: what is sent moves piece by piece past the watchdog, so that a slow network is no silence.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import polars as pl
from psycopg import sql

from premortem.systems.retail.database import Session

_PIECE_BYTES = 1 << 18


def encode(rows: pl.DataFrame) -> memoryview:
    """The rows as COPY reads them (format csv)."""
    block = io.BytesIO()
    if "invoicedate" in rows.columns:
        rows = rows.with_columns(date_text(rows.get_column("invoicedate")))
    rows.write_csv(block, include_header=False)
    return block.getbuffer()


def date_text(dates: pl.Series) -> pl.Series:
    """The dates as PostgreSQL writes them, to the microsecond."""
    return each_once(dates, lambda values: values.dt.strftime("%Y-%m-%d %H:%M:%S%.6f"))


def each_once(values: pl.Series, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """`function` of all values, worked out once for each that occurs: an invoice's lines share a date."""
    unique = values.unique()
    made = pl.DataFrame([unique, function(unique).alias("made")])
    joined = values.to_frame().join(made, on=values.name, how="left", nulls_equal=True, maintain_order="left")
    return joined.get_column("made").alias(values.name)


def copy_in(session: Session, table: sql.Composable, columns: list[str], data: memoryview) -> int:
    """How many rows the database took of `data` into `table`; raises one of the `DatabaseError`s."""
    statement = sql.SQL("copy {} ({}) from stdin (format csv)").format(
        table, sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    with session.talking(f"loading {table.as_string()}"), session.connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for start in range(0, len(data), _PIECE_BYTES):
                copy.write(data[start : start + _PIECE_BYTES])
                session.watchdog.feed()
        return cursor.rowcount
