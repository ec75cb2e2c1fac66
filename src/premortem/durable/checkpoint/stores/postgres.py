"""Checkpoints in PostgreSQL: in the caller's open transaction, or by a connection of the store's own.

With the caller's connection, data and progress commit together or not at all, which is the one way to exactly once:

    with connection.transaction():
        copy_rows(connection, chunk)
        checkpoint.save({"chunks": chunk.number})

Time is the server's. A change waits at most `wait_s` seconds for another transaction that has changed the same name.
"""

from __future__ import annotations

from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.postgres import PostgresSession
from premortem.durable.sessions.postgres_tables import SCHEMA, make_tables

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]
    Cursor = psycopg.Cursor[tuple[Any, ...]]

_TABLES = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_TRIES = 20  # for a name that others are making at the same moment
_READ = """
SELECT 0::bigint, head, clock_timestamp() FROM {schema}.checkpoint_head WHERE name = %(name)s
UNION ALL SELECT version, document, clock_timestamp() FROM {schema}.checkpoint WHERE name = %(name)s
UNION ALL SELECT -1, NULL, clock_timestamp()
"""
# Whoever has the head's row decides; the time is that after the wait for it.
_LOCK = """
SELECT head, clock_timestamp() FROM (SELECT) AS one
LEFT JOIN LATERAL (SELECT head FROM {schema}.checkpoint_head WHERE name = %(name)s FOR UPDATE) AS kept ON true
"""
_MAKE = "INSERT INTO {schema}.checkpoint_head VALUES (%(name)s, %(head)b) ON CONFLICT DO NOTHING"
_HEAD = "UPDATE {schema}.checkpoint_head SET head = %(head)b WHERE name = %(name)s"
_SAVE = """
WITH head AS (UPDATE {schema}.checkpoint_head SET head = %(head)b WHERE name = %(name)s),
    old AS (DELETE FROM {schema}.checkpoint WHERE name = %(name)s AND version <= %(forget)s)
INSERT INTO {schema}.checkpoint (name, version, document) VALUES (%(name)s, %(version)s, %(document)b)
ON CONFLICT (name, version) DO UPDATE SET document = excluded.document, saved_at = excluded.saved_at
"""
_REMOVE = """
WITH head AS (DELETE FROM {schema}.checkpoint_head WHERE name = %(name)s)
DELETE FROM {schema}.checkpoint WHERE name = %(name)s
"""


def create_tables(connection: Connection, *, schema: str = SCHEMA) -> None:
    """Make the schema and the two tables where they are not there yet; committed with the caller's transaction."""
    make_tables(connection, _TABLES, schema)


class PostgresStore(OnSession[PostgresSession]):
    """Keeps checkpoints in the tables of `create_tables`.

    `place` is an open connection, in whose transaction everything happens (in autocommit: in one of its own for each
    change), or a URL: then the store makes the tables, connects when needed and again after a restart of the server,
    and no answer may take longer than `answer_s` seconds.
    """

    def __init__(
        self, place: Connection | str, *, schema: str = SCHEMA, wait_s: float = 5.0, answer_s: float = 15.0
    ) -> None:
        super().__init__(
            PostgresSession(
                place, schema, _TABLES, owner="PostgresStore", part="checkpoint", wait_s=wait_s, answer_s=answer_s
            )
        )

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        with self._session.asking() as cursor:
            rows = cursor.execute(self._session.sql(_READ), {"name": name}).fetchall()
        heads = [raw for version, raw, _ in rows if version == 0]
        documents = tuple((version, raw) for version, raw, _ in rows if version > 0)
        return Kept(heads[0] if heads else None, documents, rows[-1][2].astimezone(UTC))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`. A conflict of serializable transactions (40001) comes out as psycopg's."""
        for _ in range(_TRIES):
            with self._session.changing() as cursor:
                row = self._session.waiting(cursor, _LOCK, {"name": name}).fetchone()
                assert row is not None
                head, now = row
                change = decide(head, now.astimezone(UTC))
                if change is None or self._write(cursor, name, change, new=head is None):
                    return
        raise StoreDownError(repr(self), f"{name!r} is made and removed by others all the time")

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        with self._session.changing() as cursor:
            self._session.waiting(cursor, _REMOVE, {"name": name})

    def _write(self, cursor: Cursor, name: str, change: Change, *, new: bool) -> bool:
        """False where the name is new, and somebody else has made it first."""
        told = {
            "name": name, "head": change.head, "version": change.version, "document": change.document,
            "forget": change.forget,
        }  # fmt: skip
        if new and not self._session.waiting(cursor, _MAKE, {"name": name, "head": change.head}).rowcount:
            return False
        if change.document is not None:
            cursor.execute(self._session.sql(_SAVE), told)
        elif not new:
            cursor.execute(self._session.sql(_HEAD), told)
        return True
