"""The rows of one file into PostgreSQL: one transaction, so a crash at any moment loads nothing.

Laws:
- The database counts: what COPY reports is held against what was read, before the commit.
- The batch's row is inserted first. Its unique index makes a second ingest of the same bytes wait for this one
  and then be refused, however close together they started.
- Each chunk is a COPY of its own, so that a statement's timeout bounds a chunk and not a file of any size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import polars as pl
from psycopg import sql

from premortem.events import emit
from premortem.systems.retail.copying import copy_in, encode
from premortem.systems.retail.database import Session
from premortem.systems.retail.errors import (
    AlreadyLoadedError,
    CommitUnknownError,
    DatabaseError,
    LostRowsError,
)
from premortem.systems.retail.rules import Sorted
from premortem.systems.retail.source import Source

_TABLES = tuple(
    f"bronze.{name}"
    for name in (
        *("batches", "raw_transactions", "dead_letters"),
        *("claims", "chunks", "content_keys", "keyed_batches", "withdrawn"),
    )
)
# Any number that nobody else locks: the first eight bytes of sha256("premortem.systems.retail"), halved.
_CREATION_LOCK = 3_445_653_101_102_588_116
UNIQUE_VIOLATION = "23505"


@dataclass(frozen=True, slots=True)
class Counts:
    """What the database says it took."""

    batch: int
    loaded: int
    dead: int


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be loaded: the `read` rows of `source`, sorted; `again` though its bytes were loaded before."""

    source: Source
    rows: Sorted
    read: int
    started: datetime
    again: bool


def prepare(session: Session) -> None:
    """Create the tables where they are missing; any number of sessions may do so at once."""
    connection = session.connection
    with session.talking("creating the tables of schema bronze"):
        row = connection.execute(
            "select bool_and(to_regclass(t) is not null) from unnest(%s::text[]) t", [list(_TABLES)]
        )
        if row.fetchone() != (True,):  # a user without the right to create can use tables that are there
            connection.execute("select pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
            statements = resources.files(__package__).joinpath("tables.sql").read_text(encoding="utf-8")
            connection.execute(statements.encode())
        connection.commit()


def refuse_again(session: Session, source: Source) -> None:
    """Raise `AlreadyLoadedError` where these bytes, or some of them, are in the database."""
    with session.talking("looking for an earlier batch of the same file"):
        row = session.connection.execute(
            "select id, source_file, to_char(finished_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI'), complete"
            " from bronze.batches where sha256 = %s order by id limit 1",
            [source.sha256],
        ).fetchone()
        session.connection.commit()
    if row is None:
        return
    batch, earlier, at, complete = row
    very = f"{source.name}: these very bytes (sha256 {source.sha256[:12]})"
    if complete:
        said = (
            f"were loaded as batch {batch} from {earlier} at {at} UTC; nothing was loaded now; say again=True (--again)"
        )
        raise AlreadyLoadedError(f"{very} {said} to load them once more", batch=int(batch))
    raise AlreadyLoadedError(
        f"{very} are loaded in part, as batch {batch} from {earlier}, by a run that works or was cut off; nothing was "
        "loaded now; end it with `premortem retail run`",
        batch=int(batch),
    )


def load(session: Session, job: Job, chunk_rows: int) -> Counts:
    """Put the rows into the database and commit; raises a `RetailError`, and then nothing is there."""
    batch = _begin(session, job)
    source, rows = job.source, job.rows
    common = {"source_file": pl.lit(source.name), "batch": pl.lit(batch)}
    loaded, dead = (
        _copy(session, table, part.with_columns(**common), chunk_rows, _progress(event, part))
        for table, part, event in (
            ("raw_transactions", rows.good, "retail.loaded"),
            ("dead_letters", rows.dead, "retail.dead_lettered"),
        )
    )
    if (loaded, dead) != (rows.good.height, rows.dead.height) or loaded + dead != job.read:
        raise LostRowsError(
            f"{source.name}: {job.read} rows were read, and the database counted {loaded} loaded and {dead} dead; "
            "the batch was rolled back; please report this file as a bug"
        )
    with session.talking("closing the batch"):
        session.connection.execute("update bronze.batches set finished_at = clock_timestamp() where id = %s", [batch])
    _commit(session, batch, again=job.again)
    return Counts(batch, loaded, dead)


def _begin(session: Session, job: Job) -> int:
    source = job.source
    values = [source.name, source.sha256, job.again, job.read, job.rows.good.height, job.rows.dead.height, job.started]
    try:
        with session.talking("opening a batch (another ingest of the same file may be running)"):
            row = session.connection.execute(
                "insert into bronze.batches (source_file, sha256, again, rows_read, rows_loaded, rows_dead, started_at,"
                " finished_at) values (%s, %s, %s, %s, %s, %s, %s, now()) returning id",
                values,
            ).fetchone()
    except DatabaseError as error:
        if error.sqlstate == UNIQUE_VIOLATION:
            session.connection.rollback()
            refuse_again(session, source)
        raise
    assert row is not None
    return int(row[0])


def _progress(event: str, rows: pl.DataFrame) -> Callable[[int], None]:
    return lambda done: emit(event, rows=done, total=rows.height)


def _copy(session: Session, table: str, rows: pl.DataFrame, chunk_rows: int, done: Callable[[int], None]) -> int:
    counted = 0
    for offset in range(0, rows.height, chunk_rows):
        data = encode(rows.slice(offset, chunk_rows))
        counted += copy_in(session, sql.Identifier("bronze", table), rows.columns, data)
        done(counted)
    return counted


def _commit(session: Session, batch: int, *, again: bool) -> None:
    way_out = (
        f"look for batch {batch} in bronze.batches before you load it again"
        if again
        else "run it again: it is refused if the batch is there"
    )
    emit("retail.committing", batch=batch)
    commit(session, batch, way_out)


def commit(session: Session, batch: int, way_out: str) -> None:
    """COMMIT; raises `CommitUnknownError` where the connection broke before the answer, so that nobody knows."""
    failure: CommitUnknownError
    try:
        with session.talking("committing"):
            session.connection.commit()
    except DatabaseError as error:
        # An answer of the server means that it did not commit, but for class 57P: a server that is shut down while it
        # waits for a replica has committed on its own disk. 40003 says itself that it does not know.
        if error.sqlstate is not None and not error.sqlstate.startswith("57P") and error.sqlstate != "40003":
            raise
        failure = CommitUnknownError(f"the connection broke during the commit of batch {batch}; {way_out}", batch=batch)
    else:
        return
    raise failure
