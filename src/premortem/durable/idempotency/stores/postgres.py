"""Idempotency keys in PostgreSQL: in the caller's open transaction, or by a connection of the store's own.

With the caller's connection, key, effect and result commit together or not at all, which is the one way to exactly
once:

    with connection.transaction():
        Idempotency(PostgresKeys(connection)).run(order.id, order, book)      # book writes by the same connection

A key that another open transaction works on is told at once: an advisory lock of that transaction is on it, and nobody
waits for a row. Time is the server's.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from premortem.durable.errors import InFlightError, StoreDownError
from premortem.durable.idempotency.rules import Change, Decision, Gone, Record
from premortem.durable.sessions.kept import OnSession
from premortem.durable.sessions.postgres import PostgresSession
from premortem.durable.sessions.postgres_tables import SCHEMA, make_tables

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]
    Cursor = psycopg.Cursor[tuple[Any, ...]]

_TABLES = Path(__file__).with_suffix(".sql").read_text(encoding="utf-8")
_TRIES = 20
_SECONDS = "extract(epoch FROM {0})::float8"
_TIMES = ", ".join(_SECONDS.format(name) for name in ("began", "lease", "forget"))
_COLUMNS = f"state, fingerprint, token, owner, {_TIMES}, result"
_LOCK = "pg_try_advisory_xact_lock(hashtextextended({key}, hashtextextended('idempotency', 0)))"
_READ = f"""
SELECT {{lock}}, clock_timestamp(), {_COLUMNS} FROM (SELECT) AS one LEFT JOIN {{schema}}.idempotency ON key = %(key)s
"""  # noqa: S608 - constants, and a name that was checked
_VALUES = """
    %(state)s, %(fingerprint)s, %(token)s, %(owner)s,
    to_timestamp(%(began)s), to_timestamp(%(lease)s), to_timestamp(%(forget)s), %(result)b
"""
_INSERT = f"INSERT INTO {{schema}}.idempotency VALUES (%(key)s, {_VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608 - constants
_UPDATE = f"""
UPDATE {{schema}}.idempotency SET (state, fingerprint, token, owner, began, lease, forget, result) = ROW ({_VALUES})
WHERE key = %(key)s AND token = %(old_token)s AND state = %(old_state)s
"""  # noqa: S608 - constants
_DELETE = "DELETE FROM {schema}.idempotency WHERE key = %(key)s AND token = %(old_token)s AND state = %(old_state)s"
_PENDING = f"""
SELECT key, {_COLUMNS} FROM {{schema}}.idempotency WHERE state = 'in_flight' ORDER BY began, key LIMIT %(limit)s
"""  # noqa: S608 - constants
# Neither waits for anybody nor makes anybody wait: who asks for a key that is being removed is told that it is taken.
_PURGE = f"""
DELETE FROM {{schema}}.idempotency WHERE key IN (
    SELECT key FROM {{schema}}.idempotency WHERE forget <= coalesce(%(now)s, clock_timestamp())
    ORDER BY forget LIMIT %(limit)s FOR UPDATE SKIP LOCKED
) AND {_LOCK.replace("{key}", "key")}
"""  # noqa: S608 - constants


def create_tables(connection: Connection, *, schema: str = SCHEMA) -> None:
    """Make the schema and the table where they are not there yet; committed with the caller's transaction."""
    make_tables(connection, _TABLES, schema)


class PostgresKeys(OnSession[PostgresSession]):
    """Keeps keys in the table of `create_tables`.

    `place` is an open connection, in whose transaction everything happens, or a URL: then the store makes the table,
    connects when needed and again after a restart of the server, waits for locks `wait_s` seconds at most, and no
    answer may take longer than `answer_s` seconds.
    """

    def __init__(
        self, place: Connection | str, *, schema: str = SCHEMA, wait_s: float = 5.0, answer_s: float = 15.0
    ) -> None:
        super().__init__(
            PostgresSession(
                place, schema, _TABLES, owner="PostgresKeys", part="idempotency", wait_s=wait_s, answer_s=answer_s
            )
        )
        lock = _LOCK.replace("{key}", "%(key)s") if self._session.transactional else "true"
        self._read = self._sql(_READ.replace("{lock}", lock))

    def together(self) -> AbstractContextManager[None]:
        """As `IdempotencyStore.together`."""
        return self._session.together()

    def change(self, key: str, decide: Decision) -> None:
        """As `IdempotencyStore.change`. A conflict of serializable transactions (40001) comes out as psycopg's."""
        with self._session.asking() as cursor:
            for _ in range(_TRIES):
                row = cursor.execute(self._read, {"key": key}).fetchone()
                assert row is not None
                if not row[0]:
                    raise InFlightError(key, "another transaction", None)
                record = None if row[2] is None else Record(*row[2:])
                change = decide(record, row[1].astimezone(UTC))
                if change is None or self._write(cursor, key, record, change):
                    return
        raise StoreDownError(
            repr(self), f"others change {key!r} all the time, or this transaction sees an old snapshot"
        )

    def pending(self, limit: int) -> tuple[tuple[str, Record], ...]:
        """As `IdempotencyStore.pending`."""
        with self._session.asking() as cursor:
            rows = cursor.execute(self._sql(_PENDING), {"limit": limit}).fetchall()
        return tuple((key, Record(*values)) for key, *values in rows)

    def purge(self, now: datetime | None, limit: int) -> int:
        """As `IdempotencyStore.purge`."""
        with self._session.asking() as cursor:
            return cursor.execute(self._sql(_PURGE), {"now": now, "limit": limit}).rowcount

    def _write(self, cursor: Cursor, key: str, old: Record | None, change: Change) -> bool:
        """False where somebody else was faster."""
        told: dict[str, object] = {"key": key}
        if old is not None:
            told |= {"old_token": old.token, "old_state": old.state}
        if isinstance(change, Record):
            told |= {
                "state": change.state, "fingerprint": change.fingerprint, "token": change.token, "owner": change.owner,
                "began": change.began_s, "lease": change.lease_s, "forget": change.forget_s, "result": change.result,
            }  # fmt: skip
            return cursor.execute(self._sql(_INSERT if old is None else _UPDATE), told).rowcount == 1
        assert isinstance(change, Gone)
        return old is None or cursor.execute(self._sql(_DELETE), told).rowcount == 1

    def _sql(self, text: str) -> bytes:
        return self._session.sql(text)
