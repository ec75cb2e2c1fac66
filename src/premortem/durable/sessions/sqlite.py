"""SQLite: a database file of the session's own (WAL, one fsync for a change), or the caller's connection."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from premortem.durable.errors import DamagedError, StoreDownError
from premortem.errors import ConfigurationError

_BUSY_MOST_S = 60


class SqliteSession:
    """`tables` are made in a file of its own, at the first use. `wait_s`: how long to wait for another writer of it."""

    def __init__(
        self, place: str | os.PathLike[str] | sqlite3.Connection, tables: str, *, owner: str, wait_s: float
    ) -> None:
        if isinstance(wait_s, bool) or not 0 <= wait_s <= _BUSY_MOST_S:
            raise ConfigurationError(f"{owner}.wait_s = {wait_s!r}: has to be 0 to {_BUSY_MOST_S} seconds")
        self._given = place if isinstance(place, sqlite3.Connection) else None
        self._path = "" if isinstance(place, sqlite3.Connection) else os.fspath(place)
        self._tables, self._owner, self._wait_s = tables, owner, wait_s
        self._own: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()

    def __repr__(self) -> str:
        return f"{self._owner}({self._path or self._given!r})"

    @property
    def transactional(self) -> bool:
        """Whether what is written is part of the caller's transaction."""
        return self._given is not None

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """The connection, in a transaction: the one that is open, or one that ends with the block."""
        with self._told() as connection:
            if connection.in_transaction:
                yield connection
                return
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, to read: each statement sees the newest, unless a transaction is open."""
        with self._told() as connection:
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """With a connection of the caller's, all of the block is kept or none of it; else nothing is promised.

        A transaction that is open, or that this connection opens by itself, stays the caller's to commit.
        """
        if self._given is None:
            yield
            return
        connection, ours = self._given, False
        if not connection.in_transaction:
            with self._told():
                connection.execute("BEGIN IMMEDIATE")
            ours = connection.isolation_level is None
        connection.execute("SAVEPOINT premortem_together")
        try:
            yield
            if not connection.in_transaction:
                raise ConfigurationError(  # noqa: TRY301 - told where it is seen; what it undoes is gone anyhow
                    f"{self!r}: the function has ended the transaction, so its effect and its key are no longer one; "
                    "leave commit() and rollback() to whoever called"
                )
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO premortem_together")
                connection.execute("RELEASE premortem_together")
                if ours:
                    connection.rollback()
            raise
        connection.execute("RELEASE premortem_together")
        if ours:
            with self._told():
                connection.commit()

    def close(self) -> None:
        """Close the connection, if it is the session's own."""
        with self._thread:
            self._drop()

    @contextmanager
    def _told(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time; what SQLite says, in our words."""
        with self._thread:
            try:
                yield self._connection()
            except sqlite3.OperationalError as error:
                self._drop()
                if "no such table" in str(error):
                    raise ConfigurationError(f"{self!r}: {error}; call create_tables(connection) once") from error
                raise StoreDownError(repr(self), str(error)) from error
            except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
                raise
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
                create(connection, self._tables)
            except BaseException:
                connection.close()
                raise
            self._own = connection
        return self._own

    def _drop(self) -> None:
        """Begin anew next time: the file may have been put back meanwhile."""
        if self._own is not None and self._process == os.getpid():
            self._own.close()
        self._own = None


def create(connection: sqlite3.Connection, tables: str) -> None:
    """Make the tables where they are not there yet, in the transaction that is open."""
    for statement in tables.split(";"):
        if statement.strip():
            connection.execute(statement)
