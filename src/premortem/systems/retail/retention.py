"""Old months out of the fact table: to Parquet first where a folder is named, then dropped.

Laws:
- The file is whole and on the disk, and its rows are counted, before the partition goes; a death in between leaves
  both, and the next time writes the file anew.
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
from premortem.systems.retail.errors import LostRowsError
from premortem.systems.retail.load import prepare
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target
from premortem.systems.retail.transform import alone

_PARTITIONS = """
select c.relname, (regexp_match(c.relname, '_([0-9]{4}_[0-9]{2})$'))[1]
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass('silver.fact_sales_daily') order by 1
"""
_SCHEMA = {
    "date_key": pl.Date(),
    "product_key": pl.Int64(),
    "customer_key": pl.Int64(),
    "lines": pl.Int32(),
    "units_sold": pl.Int64(),
    "units_returned": pl.Int64(),
    "units_adjusted": pl.Int64(),
    "revenue": pl.Decimal(38, 10),
    "refunds": pl.Decimal(38, 10),
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

    Each month is a transaction of its own. Raises a `DatabaseError`, or OSError where the file cannot be written.
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
        return tuple(_retire(session, *one, archive) for one in _old(session, before))
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
    data = _read(session, table)
    with session.talking(f"counting {name}"):
        counted = session.connection.execute(sql.SQL("select count(*) from {}").format(table)).fetchone()
    if counted != (data.height,):
        raise LostRowsError(f"{name}: {data.height} rows were read and {counted} counted; it is still there")
    path = archive / f"{name}.parquet" if archive is not None else None
    if path is not None:
        block = io.BytesIO()
        data.write_parquet(block)
        write_atomically(path, block.getvalue())
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


def _read(session: Session, table: sql.Composable) -> pl.DataFrame:
    block = io.BytesIO()
    columns = sql.SQL(", ").join(map(sql.Identifier, _SCHEMA))
    statement = sql.SQL("copy (select {} from {} order by 1, 2, 3) to stdout (format csv)").format(columns, table)
    with session.talking(f"reading {table.as_string()}"), session.connection.cursor().copy(statement) as copy:
        for piece in copy:
            block.write(piece)
            session.watchdog.feed()
    if not block.tell():
        return pl.DataFrame(schema=_SCHEMA)
    return pl.read_csv(block.getvalue(), has_header=False, schema=_SCHEMA)
