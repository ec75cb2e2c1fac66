"""What is in the database and how far: files, owners, chunks, and whether the rows are there that were counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from premortem.systems.retail.database import connect
from premortem.systems.retail.load import prepare
from premortem.systems.retail.progress import chunks_of, sound_part
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target

# An advisory lock on a 64-bit key is told by its halves.
_FILES = """
select b.id as batch, b.source_file as source, b.sha256, b.complete, b.rows_read as read, b.rows_loaded as loaded,
    b.rows_dead as dead, b.rows_known as known, coalesce(c.chunks, 0) as chunks, coalesce(c.owner, 'ingest') as owner,
    exists (
        select from pg_locks l where l.locktype = 'advisory' and l.granted and l.objsubid = 1
        and l.database = (select oid from pg_database where datname = current_database())
        and (l.classid::bigint << 32) | l.objid::bigint = ('x' || left(b.sha256, 16))::bit(64)::bigint
    ) as working, coalesce(c.changed_at, b.finished_at) as changed_at
from bronze.batches b left join bronze.claims c on c.batch = b.id order by b.id
"""
_COUNTED = """
select b.id, (select count(*) from bronze.raw_transactions r where r.batch = b.id) = b.rows_loaded
    and (select count(*) from bronze.dead_letters d where d.batch = b.id) = b.rows_dead
from bronze.batches b
"""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file: how far it is, by whom, and whether somebody is at it now."""

    batch: int
    source: str
    sha256: str
    complete: bool
    read: int
    loaded: int
    dead: int
    known: int
    chunks: int
    owner: str
    working: bool
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Status:
    """All files, and the batches with which something is wrong: what the rows, or the seals, contradict."""

    files: tuple[FileStatus, ...]
    wrong: tuple[int, ...]


def status(url: str | None = None, settings: RetailSettings | None = None, *, verify: bool = False) -> Status:
    """What is there; with `verify` the rows are counted and the seals compared. Raises a `DatabaseError`."""
    settings = settings if settings is not None else read_settings(url)
    target = parse_target(url if url is not None else settings.postgres_url)
    with connect(target, settings) as session:
        prepare(session)
        with session.talking("looking what is there"):
            session.connection.execute("set transaction isolation level repeatable read, read only")
            with session.connection.cursor(row_factory=class_row(FileStatus)) as cursor:
                files = tuple(cursor.execute(_FILES.encode()).fetchall())
            wrong: list[int] = []
            if verify:
                counted = session.connection.execute(_COUNTED.encode()).fetchall()
                wrong += [batch for batch, right in counted if not right]
                for file in files:
                    chunks = chunks_of(session, file.batch)
                    good, _ = sound_part(chunks, file.batch, file.sha256)
                    read = sum(chunk.rows_read for chunk in good)
                    if (len(good), len(good)) != (len(chunks), file.chunks) or (good and read != file.read):
                        wrong.append(file.batch)
            session.connection.commit()
    return Status(files, tuple(sorted(set(wrong))))
