"""Dead letters in PostgreSQL: in the caller's open transaction, or by a connection of the store's own.

With the caller's connection, the good rows, the dead letters and the progress commit together or not at all; and a
replay marks its letters in the transaction of their effect. Time is the server's.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from premortem.durable.dead_letters.stores import Decision, Row, Tally
from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.postgres import PostgresSession
from premortem.durable.sessions.postgres_tables import SCHEMA, make_tables

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_TABLES = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_TRIES = 20
_READ = """
SELECT clock_timestamp(), number, document
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT number, document FROM {schema}.dead_letter WHERE name = %(name)s AND key = %(key)s FOR UPDATE{skip}
) ON true
"""
_INSERT = """
INSERT INTO {schema}.dead_letter (name, key, why, state, document)
VALUES (%(name)s, %(key)s, %(why)s, %(state)s, %(document)b) ON CONFLICT DO NOTHING
"""
_UPDATE = """
UPDATE {schema}.dead_letter SET (why, state, document) = (%(why)s, %(state)s, %(document)b) WHERE number = %(number)s
"""
_PAGE = """
SELECT number, key, document FROM {schema}.dead_letter
WHERE name = %(name)s AND state = %(state)s AND number > %(after)s AND (why = %(why)s::text OR %(why)s::text IS NULL)
ORDER BY number LIMIT %(limit)s
"""
_NEWEST = "SELECT coalesce(max(number), 0) FROM {schema}.dead_letter WHERE name = %(name)s"
_TALLIES = """
SELECT why, state, count(*), sum(octet_length(document))::bigint FROM {schema}.dead_letter WHERE name = %(name)s
GROUP BY why, state ORDER BY why, state
"""
# Waits for nobody: a letter that somebody is at is not the one to remove.
_REMOVE = """
DELETE FROM {schema}.dead_letter WHERE number IN (
    SELECT number FROM {schema}.dead_letter JOIN unnest(%(numbers)s::bigint[], %(documents)s::bytea[]) AS read (n, d)
    ON number = n AND document = d WHERE name = %(name)s ORDER BY number FOR UPDATE OF dead_letter SKIP LOCKED
)
"""


def create_tables(connection: Connection, *, schema: str = SCHEMA) -> None:
    """Make the schema and the table where they are not there yet; committed with the caller's transaction."""
    make_tables(connection, _TABLES, schema)


class PostgresLetters(OnSession[PostgresSession]):
    """Keeps letters in the table of `create_tables`.

    `place` is an open connection, in whose transaction everything happens, or a URL: then the store makes the table,
    connects when needed and again after a restart of the server, waits for locks `wait_s` seconds at most, and no
    answer may take longer than `answer_s` seconds.
    """

    def __init__(
        self, place: Connection | str, *, schema: str = SCHEMA, wait_s: float = 5.0, answer_s: float = 15.0
    ) -> None:
        super().__init__(
            PostgresSession(
                place, schema, _TABLES, owner="PostgresLetters", part="dead letters", wait_s=wait_s, answer_s=answer_s
            )
        )

    def together(self) -> AbstractContextManager[None]:
        """As `DeadLetterStore.together`."""
        return self._session.together()

    def change(self, name: str, key: str, decide: Decision, *, skip_held: bool = False) -> None:
        """As `DeadLetterStore.change`. A conflict of serializable transactions (40001) comes out as psycopg's."""
        read = self._sql(_READ.replace("{skip}", " SKIP LOCKED" if skip_held else ""))
        with self._session.changing() as cursor:
            for _ in range(_TRIES):
                row = cursor.execute(read, {"name": name, "key": key}).fetchone()
                assert row is not None
                now, number, document = row
                put = decide(document, now.astimezone(UTC))
                if put is None:
                    return
                told = {"why": put.why, "state": put.state, "document": put.document}
                if number is not None:
                    cursor.execute(self._sql(_UPDATE), told | {"number": number})
                    return
                if cursor.execute(self._sql(_INSERT), told | {"name": name, "key": key}).rowcount:
                    return
        raise StoreDownError(
            repr(self), f"others change {key!r} all the time, or this transaction sees an old snapshot"
        )

    def page(self, name: str, *, state: str, why: str | None, after: int, limit: int) -> tuple[Row, ...]:
        """As `DeadLetterStore.page`."""
        told = {"name": name, "state": state, "why": why, "after": after, "limit": limit}
        with self._session.asking() as cursor:
            return tuple(Row(*row) for row in cursor.execute(self._sql(_PAGE), told).fetchall())

    def newest(self, name: str) -> int:
        """As `DeadLetterStore.newest`."""
        with self._session.asking() as cursor:
            row = cursor.execute(self._sql(_NEWEST), {"name": name}).fetchone()
        assert row is not None
        return int(row[0])

    def tallies(self, name: str) -> tuple[Tally, ...]:
        """As `DeadLetterStore.tallies`."""
        with self._session.asking() as cursor:
            return tuple(Tally(*row) for row in cursor.execute(self._sql(_TALLIES), {"name": name}).fetchall())

    def remove(self, name: str, rows: Sequence[Row]) -> int:
        """As `DeadLetterStore.remove`."""
        told = {"name": name, "numbers": [row.number for row in rows], "documents": [row.document for row in rows]}
        with self._session.asking() as cursor:
            return cursor.execute(self._sql(_REMOVE), told).rowcount

    def _sql(self, text: str) -> bytes:
        return self._session.sql(text)
