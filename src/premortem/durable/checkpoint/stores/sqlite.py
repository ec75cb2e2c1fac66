"""Checkpoints in SQLite: in a database file of their own, or in the transaction of the caller's connection.

A file of its own is in WAL mode with `synchronous=FULL`: one fsync for a save. With a connection of the caller's, data
and progress commit together or not at all.
"""

from __future__ import annotations

import os
import sqlite3
from datetime import UTC, datetime

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.sqlite import SqliteSession, create

_TABLES = """
CREATE TABLE IF NOT EXISTS premortem_checkpoint_head (name TEXT PRIMARY KEY, head BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS premortem_checkpoint (
    name TEXT NOT NULL, version INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (name, version)
) WITHOUT ROWID;
"""
_HEAD = "SELECT head FROM premortem_checkpoint_head WHERE name = ?"
_DOCUMENTS = "SELECT version, document FROM premortem_checkpoint WHERE name = ?"
_PUT_HEAD = "INSERT OR REPLACE INTO premortem_checkpoint_head VALUES (?, ?)"
_PUT_DOCUMENT = "INSERT OR REPLACE INTO premortem_checkpoint VALUES (?, ?, ?)"
_FORGET = "DELETE FROM premortem_checkpoint WHERE name = ? AND version <= ?"


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the two tables in `connection`'s database, where they are not there yet."""
    create(connection, _TABLES)


class SqliteStore(OnSession[SqliteSession]):
    """Keeps checkpoints in the file at a path, or in a connection on which `create_tables` was called.

    `wait_s`: how long to wait for another writer of the file (a connection of the caller's has its own time).
    """

    def __init__(self, place: str | os.PathLike[str] | sqlite3.Connection, *, wait_s: float = 5.0) -> None:
        super().__init__(SqliteSession(place, _TABLES, owner="SqliteStore", wait_s=wait_s))

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        with self._session.reading() as connection:
            head = connection.execute(_HEAD, (name,)).fetchone()
            documents = connection.execute(_DOCUMENTS, (name,)).fetchall()
            return Kept(head and bytes(head[0]), tuple((n, bytes(raw)) for n, raw in documents), datetime.now(UTC))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`."""
        with self._session.changing() as connection:
            head = connection.execute(_HEAD, (name,)).fetchone()
            change = decide(head and bytes(head[0]), datetime.now(UTC))
            if change is not None:
                _write(connection, name, change)

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        with self._session.changing() as connection:
            connection.execute("DELETE FROM premortem_checkpoint WHERE name = ?", (name,))
            connection.execute("DELETE FROM premortem_checkpoint_head WHERE name = ?", (name,))


def _write(connection: sqlite3.Connection, name: str, change: Change) -> None:
    connection.execute(_PUT_HEAD, (name, change.head))
    if change.document is not None:
        connection.execute(_PUT_DOCUMENT, (name, change.version, change.document))
        connection.execute(_FORGET, (name, change.forget))
