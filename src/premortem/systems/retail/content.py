"""Sameness by content: a row is known when a row with the same eight values, and as many of them, is there already.

A file may hold the same line twice and mean it; so the second of two equal lines has occurrence 2, and another export
of the same lines brings nothing new, in whatever order and form: the key is the first 16 bytes of a SHA-256 over the
values as they are stored.

Laws:
- A key and the row that it stands for are written in one transaction, keys in their order: so two workers that bring
  the same rows wait for each other and never in a circle.
- Optimistic: keys go in by COPY, in a savepoint. Only where one is there already are they staged and sorted out.
- Eight bytes a row of the file are held in memory, to count occurrences over the chunks.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal

import polars as pl
from psycopg import sql

from premortem.systems.retail.columns import NAMES
from premortem.systems.retail.copying import copy_in, date_text, encode
from premortem.systems.retail.database import Session
from premortem.systems.retail.errors import DatabaseError
from premortem.systems.retail.load import UNIQUE_VIOLATION
from premortem.systems.retail.repeats import each_once

_KEYS = sql.Identifier("bronze", "content_keys")
_STAGED = sql.Identifier("pg_temp", "arriving")
_STAGE = "create temp table if not exists arriving (key uuid, occurrence integer, place integer) on commit delete rows"
_ADMIT = """
with added as (
    insert into bronze.content_keys select key, occurrence from pg_temp.arriving order by key, occurrence
    on conflict do nothing returning key, occurrence
)
select place from pg_temp.arriving join added using (key, occurrence) order by place
"""
# The same key as `texts` and `keyed` make it, for rows that came without one.
_KEY_OF_ROW = r"""
encode(substring(sha256(
    convert_to(invoiceno, 'UTF8') || '\x00' || convert_to(stockcode, 'UTF8') || '\x00'
    || convert_to(description, 'UTF8') || '\x00' || convert_to(quantity::text, 'UTF8') || '\x00'
    || convert_to(to_char(invoicedate, 'YYYY-MM-DD HH24:MI:SS.US'), 'UTF8') || '\x00'
    || convert_to(trim_scale(unitprice)::text, 'UTF8') || '\x00'
    || convert_to(coalesce(customerid::text, ''), 'UTF8') || '\x00' || convert_to(country, 'UTF8')
) for 16), 'hex')::uuid
"""
_KEY_ALL = f"""
insert into bronze.content_keys
select key, row_number() over (partition by key)
from (select {_KEY_OF_ROW} as key from bronze.raw_transactions) as rows
order by 1, 2 on conflict do nothing
"""  # noqa: S608 - a constant


class Occurrences:
    """How often each key has been seen so far, in eight bytes a row: sorted runs that grow by merging."""

    def __init__(self) -> None:
        self._runs: list[pl.Series] = []

    def before(self, hashes: pl.Series) -> pl.Series:
        """How often each of `hashes` has been added before."""
        total = pl.zeros(hashes.len(), dtype=pl.UInt32, eager=True)
        for run in self._runs:
            total = total + (run.search_sorted(hashes, side="right") - run.search_sorted(hashes, side="left"))
        return total

    def add(self, hashes: pl.Series) -> None:
        """Count `hashes` once more."""
        run = hashes.sort()  # at once where they are in order
        while self._runs and self._runs[-1].len() <= 2 * run.len():
            run = self._runs.pop().append(run).sort()
        self._runs.append(run)


def keyed(good: pl.DataFrame, seen: Occurrences) -> pl.DataFrame:
    """`key`, `occurrence` and `place` (the row's number in `good`), sorted by key; `seen` goes on with these rows."""
    digests = [hashlib.sha256(text).digest()[:16] for text in texts(good)]
    frame = pl.DataFrame({"digest": digests}, schema={"digest": pl.Binary()}).select(
        pl.col("digest").bin.encode("hex").alias("key"),
        # The first half of the key, in the key's order: counted and sorted by it, which is ten times as quick. Where
        # two keys share it (once in 10^6 files of a million rows), the second counts from 2, and both are still told
        # apart.
        pl.col("digest").bin.slice(0, 8).bin.reinterpret(dtype=pl.UInt64(), endianness="big").alias("hash"),
        pl.int_range(0, pl.len(), dtype=pl.Int64).alias("place"),
    )
    frame = frame.sort("hash", "place")
    hashes = frame.get_column("hash")
    first = hashes.search_sorted(hashes, side="left").cast(pl.Int64)
    here = pl.int_range(1, hashes.len() + 1, dtype=pl.Int64, eager=True) - first
    occurrence = (here + seen.before(hashes).cast(pl.Int64)).alias("occurrence")
    seen.add(hashes)
    return frame.select("key", occurrence, "place")


def texts(good: pl.DataFrame) -> list[bytes]:
    """The eight values of each row as one text; NUL, which no good row contains, stands between them."""
    prices = each_once(good.get_column("unitprice"), _trimmed)
    frame = good.with_columns(prices, date_text(good.get_column("invoicedate")))
    parts = [pl.col(name).cast(pl.String).fill_null("") for name in NAMES]
    return frame.select(pl.concat_str(parts, separator="\0")).to_series().cast(pl.Binary).to_list()


def admit(session: Session, keys: pl.DataFrame) -> pl.Series | None:
    """Write the keys; the places of the rows that are new, or None where all are."""
    with session.talking("before the keys"):
        session.connection.execute("savepoint keys")
    try:
        copy_in(session, _KEYS, ["key", "occurrence"], encode(keys.select("key", "occurrence")))
    except DatabaseError as error:
        if error.sqlstate != UNIQUE_VIOLATION:
            raise
    else:
        return None
    with session.talking("sorting out the known rows"):
        session.connection.execute("rollback to savepoint keys")
        session.connection.execute(_STAGE)
    copy_in(session, _STAGED, keys.columns, encode(keys))
    with session.talking("sorting out the known rows"):
        places = session.connection.execute(_ADMIT).fetchall()
    return pl.Series("place", [place for (place,) in places], dtype=pl.UInt32)


def has_keys(session: Session, batch: int) -> bool:
    """Whether the keys are there that `key_earlier` has made for `batch`: who takes rows out takes all keys out."""
    with session.talking("looking for the keys"):
        row = session.connection.execute("select from bronze.keyed_batches where batch = %s", [batch]).fetchone()
    return row is not None


def key_earlier(session: Session, batch: int) -> None:
    """Give the rows that came without keys theirs: those of `ingest`, and of runs by source file."""
    with session.talking("looking for rows without a content key"):
        session.connection.execute("lock table bronze.keyed_batches in share row exclusive mode")
        without = session.connection.execute(
            "select 1 from bronze.batches b where rows_loaded > 0"
            " and not exists (select from bronze.keyed_batches k where k.batch = b.id) limit 1"
        ).fetchone()
        if without:
            session.connection.execute(_KEY_ALL.encode())
        session.connection.execute(
            "insert into bronze.keyed_batches select id from bronze.batches where complete or id = %s"
            " on conflict do nothing",
            [batch],
        )
        session.connection.commit()


def _trimmed(prices: pl.Series) -> pl.Series:
    """A number's text without what says nothing, as trim_scale(...)::text of PostgreSQL writes it."""
    column = pl.col(prices.name)
    plain = column.str.strip_prefix("+").str.replace(r"^(-?)\.", "${1}0.").str.replace(r"^(-?)0+([0-9])", "${1}${2}")
    trimmed = (
        pl.when(plain.str.contains(".", literal=True))
        .then(plain.str.strip_chars_end("0").str.strip_chars_end("."))
        .otherwise(plain)
    )
    text = pl.when(trimmed == "-0").then(pl.lit("0")).otherwise(trimmed).alias(prices.name)
    frame = prices.to_frame()
    if not frame.select(column.str.contains("(?i)e").any()).item():
        return frame.select(text).to_series()
    return pl.Series(prices.name, [_as_numeric(each) for each in prices], dtype=pl.String)


def _as_numeric(text: str) -> str:
    value = format(Decimal(text), "f")
    value = value.rstrip("0").rstrip(".") if "." in value else value
    return "0" if value in {"", "-0", "0"} else value
