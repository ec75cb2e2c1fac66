"""Dead letters in SQLite: in a database file of their own, or in the transaction of the caller's connection."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime

from premortem.durable.dead_letters.stores import Decision, Row, Tally
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.sqlite import SqliteSession, create

_TABLES = """
CREATE TABLE IF NOT EXISTS premortem_dead_letter (
    number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, key TEXT NOT NULL, why TEXT NOT NULL,
    state TEXT NOT NULL, document BLOB NOT NULL, UNIQUE (name, key)
);
CREATE INDEX IF NOT EXISTS premortem_dead_letter_state ON premortem_dead_letter (name, state, number)
"""
_READ = "SELECT number, document FROM premortem_dead_letter WHERE name = ? AND key = ?"
_INSERT = "INSERT INTO premortem_dead_letter (name, key, why, state, document) VALUES (?, ?, ?, ?, ?)"
_UPDATE = "UPDATE premortem_dead_letter SET why = ?, state = ?, document = ? WHERE number = ?"
_PAGE = """
SELECT number, key, document FROM premortem_dead_letter
WHERE name = ? AND state = ? AND number > ? AND (why = ? OR ? IS NULL) ORDER BY number LIMIT ?
"""
_NEWEST = "SELECT coalesce(max(number), 0) FROM premortem_dead_letter WHERE name = ?"
_TALLIES = """
SELECT why, state, count(*), sum(length(document)) FROM premortem_dead_letter WHERE name = ?
GROUP BY why, state ORDER BY why, state
"""
_REMOVE = "DELETE FROM premortem_dead_letter WHERE number = ? AND name = ? AND document = ?"


def create_tables(connection: sqlite3.Connection) -> None:
    """Make the table in `connection`'s database, where it is not there yet."""
    create(connection, _TABLES)


class SqliteLetters(OnSession[SqliteSession]):
    """Keeps letters in the file at a path, or in a connection on which `create_tables` was called.

    `wait_s`: how long to wait for another writer of the file (a connection of the caller's has its own time).
    """

    def __init__(self, place: str | os.PathLike[str] | sqlite3.Connection, *, wait_s: float = 5.0) -> None:
        super().__init__(SqliteSession(place, _TABLES, owner="SqliteLetters", wait_s=wait_s))

    def together(self) -> AbstractContextManager[None]:
        """As `DeadLetterStore.together`."""
        return self._session.together()

    def change(self, name: str, key: str, decide: Decision, *, skip_held: bool = False) -> None:  # noqa: ARG002 - one writer
        """As `DeadLetterStore.change`."""
        with self._session.changing() as connection:
            row = connection.execute(_READ, (name, key)).fetchone()
            put = decide(row and bytes(row[1]), datetime.now(UTC))
            if put is None:
                return
            if row is None:
                connection.execute(_INSERT, (name, key, put.why, put.state, put.document))
            else:
                connection.execute(_UPDATE, (put.why, put.state, put.document, row[0]))

    def page(self, name: str, *, state: str, why: str | None, after: int, limit: int) -> tuple[Row, ...]:
        """As `DeadLetterStore.page`."""
        with self._session.reading() as connection:
            rows = connection.execute(_PAGE, (name, state, after, why, why, limit)).fetchall()
        return tuple(Row(number, key, bytes(document)) for number, key, document in rows)

    def newest(self, name: str) -> int:
        """As `DeadLetterStore.newest`."""
        with self._session.reading() as connection:
            return int(connection.execute(_NEWEST, (name,)).fetchone()[0])

    def tallies(self, name: str) -> tuple[Tally, ...]:
        """As `DeadLetterStore.tallies`."""
        with self._session.reading() as connection:
            return tuple(Tally(*row) for row in connection.execute(_TALLIES, (name,)).fetchall())

    def remove(self, name: str, rows: Sequence[Row]) -> int:
        """As `DeadLetterStore.remove`."""
        with self._session.changing() as connection:
            return sum(connection.execute(_REMOVE, (row.number, name, row.document)).rowcount for row in rows)
