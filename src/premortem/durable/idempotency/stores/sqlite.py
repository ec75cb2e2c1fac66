"""Idempotency keys in SQLite: in a database file of their own, or in the transaction of the caller's connection.

SQLite has one writer: with the caller's connection, whoever works on a key holds the whole file until the commit.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from premortem.durable.idempotency.rules import Decision, Gone, Record
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.sqlite import SqliteSession, create

_TABLES = """
CREATE TABLE IF NOT EXISTS premortem_idempotency (
    key TEXT PRIMARY KEY, state TEXT NOT NULL, fingerprint TEXT NOT NULL, token TEXT NOT NULL, owner TEXT NOT NULL,
    began_s REAL NOT NULL, lease_s REAL NOT NULL, forget_s REAL NOT NULL, result BLOB
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS premortem_idempotency_forget ON premortem_idempotency (forget_s)
"""
_COLUMNS = "state, fingerprint, token, owner, began_s, lease_s, forget_s, result"
_READ = f"SELECT {_COLUMNS} FROM premortem_idempotency WHERE key = ?"  # noqa: S608 - constants
_PUT = "INSERT OR REPLACE INTO premortem_idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_REMOVE = "DELETE FROM premortem_idempotency WHERE key = ?"
_PENDING = f"""
SELECT key, {_COLUMNS} FROM premortem_idempotency WHERE state = 'in_flight' ORDER BY began_s, key LIMIT ?
"""  # noqa: S608 - constants
_PURGE = """
DELETE FROM premortem_idempotency
WHERE key IN (SELECT key FROM premortem_idempotency WHERE forget_s <= ? ORDER BY forget_s LIMIT ?)
"""


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the table in `connection`'s database, where it is not there yet."""
    create(connection, _TABLES)


class SqliteKeys(OnSession[SqliteSession]):
    """Keeps keys in the file at a path, or in a connection on which `create_tables` was called.

    `wait_s`: how long to wait for another writer of the file (a connection of the caller's has its own time).
    """

    def __init__(self, place: str | os.PathLike[str] | sqlite3.Connection, *, wait_s: float = 5.0) -> None:
        super().__init__(SqliteSession(place, _TABLES, owner="SqliteKeys", wait_s=wait_s))

    def together(self) -> AbstractContextManager[None]:
        """As `IdempotencyStore.together`."""
        return self._session.together()

    def change(self, key: str, decide: Decision) -> None:
        """As `IdempotencyStore.change`."""
        with self._session.changing() as connection:
            row = connection.execute(_READ, (key,)).fetchone()
            change = decide(Record(*row) if row else None, datetime.now(UTC))
            if isinstance(change, Record):
                connection.execute(_PUT, (key, *_values(change)))
            elif isinstance(change, Gone):
                connection.execute(_REMOVE, (key,))

    def pending(self, limit: int) -> tuple[tuple[str, Record], ...]:
        """As `IdempotencyStore.pending`."""
        with self._session.reading() as connection:
            rows = connection.execute(_PENDING, (limit,)).fetchall()
        return tuple((key, Record(*values)) for key, *values in rows)

    def purge(self, now: datetime | None, limit: int) -> int:
        """As `IdempotencyStore.purge`."""
        with self._session.changing() as connection:
            return connection.execute(_PURGE, ((now or datetime.now(UTC)).timestamp(), limit)).rowcount


def _values(record: Record) -> tuple[object, ...]:
    return (
        record.state, record.fingerprint, record.token, record.owner, record.began_s, record.lease_s, record.forget_s,
        record.result,
    )  # fmt: skip
