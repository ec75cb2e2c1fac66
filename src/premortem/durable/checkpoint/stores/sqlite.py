"""Checkpoints in SQLite: in a database file of their own, or in the transaction of the caller's connection.

A file of its own is in WAL mode with `synchronous=FULL`: one fsync for a save. With a connection of the caller's, data
and progress commit together or not at all.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import DamagedError, StoreDownError

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
    for statement in _TABLES.split(";"):
        if statement.strip():
            connection.execute(statement)


class SqliteStore:
    """Keeps checkpoints in the file at a path, or in a connection on which `create_tables` was called.

    `wait_s`: how long to wait for another writer of the file (a connection of the caller's has its own time).
    """

    def __init__(self, place: str | os.PathLike[str] | sqlite3.Connection, *, wait_s: float = 5.0) -> None:
        self._given = place if isinstance(place, sqlite3.Connection) else None
        self._path = "" if isinstance(place, sqlite3.Connection) else os.fspath(place)
        self._wait_s = wait_s
        self._own: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()

    def __repr__(self) -> str:
        return f"SqliteStore({self._path or self._given!r})"

    @property
    def transactional(self) -> bool:
        """As `CheckpointStore.transactional`."""
        return self._given is not None

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        with self._told() as connection:
            head = connection.execute(_HEAD, (name,)).fetchone()
            documents = connection.execute(_DOCUMENTS, (name,)).fetchall()
            return Kept(head and bytes(head[0]), tuple((n, bytes(raw)) for n, raw in documents), datetime.now(UTC))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`."""
        with self._told() as connection, _in_transaction(connection):
            head = connection.execute(_HEAD, (name,)).fetchone()
            change = decide(head and bytes(head[0]), datetime.now(UTC))
            if change is not None:
                _write(connection, name, change)

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        with self._told() as connection, _in_transaction(connection):
            connection.execute("DELETE FROM premortem_checkpoint WHERE name = ?", (name,))
            connection.execute("DELETE FROM premortem_checkpoint_head WHERE name = ?", (name,))

    def close(self) -> None:
        """Close the connection, if it is the store's own."""
        with self._thread:
            if self._own is not None and self._process == os.getpid():
                self._own.close()
            self._own = None

    @contextmanager
    def _told(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; what SQLite says, in our words."""
        with self._thread:
            try:
                yield self._connection()
            except sqlite3.OperationalError as error:
                self._drop()
                raise StoreDownError(repr(self), str(error)) from error
            except sqlite3.DatabaseError as error:
                self._drop()
                raise DamagedError(repr(self), str(error), "restore the file from a copy, or run `.recover`") from error

    def _connection(self) -> sqlite3.Connection:
        if self._given is not None:
            return self._given
        if self._process != os.getpid():  # a connection must not be carried through a fork
            self._own, self._process = None, os.getpid()
        if self._own is None:
            connection = sqlite3.connect(
                self._path, timeout=self._wait_s, isolation_level=None, check_same_thread=False
            )  # fmt: skip
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute("PRAGMA synchronous=FULL")
                create_tables(connection)
            except BaseException:
                connection.close()
                raise
            self._own = connection
        return self._own

    def _drop(self) -> None:
        """Begin anew next time: the file may have been put back meanwhile."""
        if self._own is not None:
            self._own.close()
            self._own = None


@contextmanager
def _in_transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """In the one that is open, which stays its owner's, or in one of our own."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


def _write(connection: sqlite3.Connection, name: str, change: Change) -> None:
    connection.execute(_PUT_HEAD, (name, change.head))
    if change.document is not None:
        connection.execute(_PUT_DOCUMENT, (name, change.version, change.document))
        connection.execute(_FORGET, (name, change.forget))
