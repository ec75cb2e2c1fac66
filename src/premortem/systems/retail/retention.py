"""Old months out of the fact table: to Parquet first where a folder is named, then dropped.

Laws:
- The file is whole and on the disk, and its rows are counted, before the partition goes; a death in between leaves
  both, and the next time writes the file anew. It can be read alone: products have their codes and names in it.
- A month goes when bronze, star and marts agree on it, and not before: what it lacks then, it would lack for ever.
- A month that is out stays out: `silver.retired` keeps later transformations from making it again.
- Bronze is not touched: it is what a month can be made from, if it has to be after all.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl
from psycopg import sql

from premortem.durable.atomic_file import write_atomically
from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.ports import Clock, SystemClock
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.errors import LostRowsError, RetentionError
from premortem.systems.retail.load import prepare
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target
from premortem.systems.retail.transform import alone

_PARTITIONS = """
select c.relname, (regexp_match(c.relname, '_([0-9]{4}_[0-9]{2})$'))[1]
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass('silver.fact_sales_daily') order by 1
"""
_LINES = """
select (select count(*) from bronze.raw_transactions
        where invoicedate >= %(month)s and invoicedate < %(month)s + interval '1 month'),
    (select coalesce(sum(lines), 0)::bigint from silver.fact_sales_daily
        where date_key >= %(month)s and date_key < %(month)s + interval '1 month'),
    (select coalesce(sum(lines), 0)::bigint from gold.daily_revenue
        where date_key >= %(month)s and date_key < %(month)s + interval '1 month')
"""
_ROWS = """
copy (
    select date_key, stockcode, description, customer_key, lines, units_sold, units_returned, units_adjusted, revenue,
        refunds, product_key
    from {} join silver.dim_product using (product_key) order by 1, 2, 4
) to stdout (format csv)
"""
_COUNTED = "select count(*), sum(revenue), sum(refunds), max(greatest(scale(revenue), scale(refunds))) from {}"
_SCALE = 10
_SCHEMA: dict[str, pl.DataType] = {
    "date_key": pl.Date(),
    "stockcode": pl.String(),
    "description": pl.String(),
    "customer_key": pl.Int64(),
    "lines": pl.Int64(),
    "units_sold": pl.Int64(),
    "units_returned": pl.Int64(),
    "units_adjusted": pl.Int64(),
    "revenue": pl.Decimal(38, _SCALE),
    "refunds": pl.Decimal(38, _SCALE),
    "product_key": pl.Int64(),
}


@dataclass(frozen=True, slots=True)
class Retired:
    """A month that was taken out: its first day, how many rows, and the file that has them."""

    month: date
    rows: int
    archive: Path | None


def retire(
    days: int,
    url: str | None = None,
    settings: RetailSettings | None = None,
    *,
    archive: Path | None = None,
    clock: Clock | None = None,
) -> tuple[Retired, ...]:
    """Take out the months whose last day is more than `days` days ago; to `archive` as one Parquet file a month.

    Each month is a transaction of its own, and told when it is out (`retail.retired`). Raises a `DatabaseError`, or
    `RetentionError` where a month has to be transformed first or its file cannot be written.
    """
    if days < 0:
        raise ConfigurationError(f"days={days}: a month that is not over cannot be too old; say 0 or more")
    if archive is not None and not archive.is_dir():
        raise ConfigurationError(f"{archive}: is no folder; make it first")
    settings = settings if settings is not None else read_settings(url)
    target = parse_target(url if url is not None else settings.postgres_url)
    before = (clock or SystemClock()).now().date() - timedelta(days=days)
    session = open_session(target, settings, "the month is still there")
    try:
        prepare(session)
        alone(session)
        return tuple(_retire(session, *one, archive and archive.resolve()) for one in _old(session, before))
    finally:
        session.close()


def _old(session: Session, before: date) -> list[tuple[str, date]]:
    with session.talking("looking for old months"):
        rows = session.connection.execute(_PARTITIONS.encode()).fetchall()
        session.connection.commit()
    months = [(str(name), date(int(month[:4]), int(month[5:]), 1)) for name, month in rows]
    return [(name, month) for name, month in months if _next(month) <= before]


def _next(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def _retire(session: Session, name: str, month: date, archive: Path | None) -> Retired:
    table = sql.Identifier("silver", name)
    with session.talking(f"taking out {name}"):
        # From here on nobody changes it; readers go on until it is dropped.
        session.connection.execute(sql.SQL("lock table {} in exclusive mode").format(table))
        _agreed(session, month)
    data = _read(session, table)
    path = archive / f"{name}.parquet" if archive is not None else None
    if path is not None:
        _write(path, data)
    with session.talking(f"dropping {name}"):
        session.connection.execute(
            "insert into silver.retired values (%s, %s, %s, clock_timestamp())"
            " on conflict (month) do update set fact_rows = excluded.fact_rows, archive = excluded.archive",
            [month, data.height, str(path) if path else None],
        )
        session.connection.execute(sql.SQL("drop table {}").format(table))
        session.connection.commit()
    emit("retail.retired", month=str(month), rows=data.height, archive=str(path) if path else None)
    return Retired(month, data.height, path)


def _agreed(session: Session, month: date) -> None:
    """Refuse a month of which bronze has lines that the star or the marts have not: they would never get there."""
    marts = session.connection.execute("select to_regclass('gold.daily_revenue') is not null").fetchone() == (True,)
    counts = session.connection.execute(_LINES.encode(), {"month": month}).fetchone() if marts else None
    if counts is None or len(set(counts)) > 1:
        said = "bronze {:,}, silver {:,}, gold {:,} lines".format(*counts) if counts else "there are no marts yet"
        raise RetentionError(
            f"{month:%Y-%m}: star and marts are not up to date ({said}); it is still there; run `premortem retail "
            "transform` first"
        )


def _read(session: Session, table: sql.Composable) -> pl.DataFrame:
    """The rows of a month, with what they are called; raises `LostRowsError` where the sums are not the server's."""
    with session.talking(f"counting {table.as_string()}"):
        counted = session.connection.execute(sql.SQL(_COUNTED).format(table)).fetchone()
    assert counted is not None
    height, *sums, scale = counted
    amount = pl.Decimal(38, max(scale or 0, _SCALE))
    schema = {**_SCHEMA, "revenue": amount, "refunds": amount}
    block = io.BytesIO()
    statement = sql.SQL(_ROWS).format(table)
    with session.talking(f"reading {table.as_string()}"), session.connection.cursor().copy(statement) as copy:
        for piece in copy:
            block.write(piece)
            session.watchdog.feed()
    empty = pl.DataFrame(schema=schema)
    data = pl.read_csv(block.getvalue(), has_header=False, schema=schema) if block.tell() else empty
    found = [data.height, *(data.get_column(name).sum() if data.height else None for name in ("revenue", "refunds"))]
    if found != [height, *sums]:
        raise LostRowsError(
            f"{table.as_string()}: rows, revenue and refunds were read as {found} and are {[height, *sums]}; it is "
            "still there; please report this as a bug"
        )
    return data


def _write(path: Path, data: pl.DataFrame) -> None:
    block = io.BytesIO()
    data.write_parquet(block)
    try:
        write_atomically(path, block.getvalue())
    except OSError as error:
        raise RetentionError(
            f"{path}: cannot be written ({error.strerror or error}); the month is still there; make room or choose "
            "another folder, and say it again: it goes on with this month"
        ) from error
