"""What could not be published: look at it, and decide: release it to be tried again, or discard it.

A key stops at its first message that fails; those behind it are kept in order. Released, they go before anything newer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from premortem.durable.sessions.postgres_tables import SCHEMA, plain_cursor, statement

if TYPE_CHECKING:
    import psycopg

_PARKED = """
SELECT id, topic, key, payload, created_at, parked_at, attempts, why, released
FROM {schema}.outbox_parked ORDER BY id LIMIT %(limit)s
"""
_RELEASE = "UPDATE {schema}.outbox_parked SET released = true WHERE %(key)s::text IS NULL OR key = %(key)s"
_RELEASE_ONE = "UPDATE {schema}.outbox_parked SET released = true WHERE id = %(id)s"
# What is behind it goes on: there is nothing left to wait for.
_DISCARD = """
WITH gone AS (DELETE FROM {schema}.outbox_parked WHERE id = %(id)s RETURNING id, key),
    freed AS (
        UPDATE {schema}.outbox_parked AS p SET released = true FROM gone
        WHERE p.key = gone.key AND p.id <> gone.id
            AND gone.id < (SELECT min(id) FROM {schema}.outbox_parked AS q WHERE q.key = gone.key AND q.id <> gone.id)
    )
SELECT count(*) FROM gone
"""


@dataclass(frozen=True, slots=True)
class Parked:
    """A message that was not published. `why` is None for one that waits behind another of its key."""

    id: int
    topic: str
    key: str | None
    payload: bytes
    created_at: datetime
    parked_at: datetime
    attempts: int
    why: str | None
    released: bool


def parked(connection: psycopg.Connection[Any], *, schema: str = SCHEMA, limit: int = 1000) -> tuple[Parked, ...]:
    """The oldest of them."""
    rows = plain_cursor(connection).execute(statement(_PARKED, schema), {"limit": limit}).fetchall()
    return tuple(Parked(*row) for row in rows)


def release(
    connection: psycopg.Connection[Any], *, key: str | None = None, id_: int | None = None, schema: str = SCHEMA
) -> int:
    """Let them be tried again: those of a key, or the one with this id, or all. How many it is about."""
    text, values = (_RELEASE, {"key": key}) if id_ is None else (_RELEASE_ONE, {"id": id_})
    return plain_cursor(connection).execute(statement(text, schema), values).rowcount


def discard(connection: psycopg.Connection[Any], id_: int, *, schema: str = SCHEMA) -> bool:
    """Give a message up for good; what waited behind it is released. False where it is not parked."""
    row = plain_cursor(connection).execute(statement(_DISCARD, schema), {"id": id_}).fetchone()
    return bool(row and row[0])
