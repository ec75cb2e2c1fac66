"""Write a message in the transaction of the data that it speaks of: both are there, or neither.

    with connection.transaction():
        connection.execute("UPDATE stock SET quantity = 3 WHERE sku = '22423'")
        Outbox(connection).add("stock.changed", key="22423", payload={"quantity": 3})

Order: messages of a key are published in the order of their ids, or of their commits where a later id commits first.
The two are the same where transactions of a key exclude each other, as they do when they change the same row before
they write the message. Where they do not, `lock_keys=True` makes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from premortem.durable.outbox.errors import OutsideTransactionError
from premortem.durable.outbox.message import MAX_BYTES, Payload, Written, written
from premortem.durable.sessions.postgres_tables import SCHEMA, driver, statement

if TYPE_CHECKING:
    import psycopg

_ADD = """
INSERT INTO {schema}.outbox (topic, key, payload, headers)
SELECT topic, key, payload, headers::jsonb
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[]) WITH ORDINALITY AS m (topic, key, payload, headers, nth)
ORDER BY nth
RETURNING id
"""
# Sorted, so that two writers of the same keys cannot wait for each other.
_LOCK = """
SELECT pg_advisory_xact_lock(hashtextextended('{schema} outbox ' || key, 0))
FROM (SELECT DISTINCT key FROM unnest($1::text[]) AS key WHERE key IS NOT NULL ORDER BY key) AS keys
"""
Entry = tuple[str, str | None, Payload] | tuple[str, str | None, Payload, Mapping[str, str] | None]


class _Statements:
    """What both outboxes say to the database."""

    def __init__(self, schema: str, *, lock_keys: bool, max_bytes: int) -> None:
        self.add, self.lock = statement(_ADD, schema), statement(_LOCK, schema)
        self.lock_keys, self._max_bytes = lock_keys, max_bytes

    def columns(self, entries: Iterable[Entry]) -> tuple[list[Any], ...]:
        """The messages, checked, by column."""
        rows = [self._written(*entry) for entry in entries]
        return (
            [row.topic for row in rows], [row.key for row in rows],
            [row.payload for row in rows], [row.headers for row in rows],
        )  # fmt: skip

    def _written(
        self, topic: str, key: str | None, payload: Payload, headers: Mapping[str, str] | None = None
    ) -> Written:
        return written(topic, key, payload, headers, self._max_bytes)


class Outbox:
    """Adds messages in the open transaction of a psycopg connection.

    `schema` is that of `create_tables`. `lock_keys`: a transaction keeps others from writing messages of its keys until
    it ends; several calls in one transaction should then name keys in one order, or PostgreSQL reports a deadlock.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        *,
        schema: str = SCHEMA,
        lock_keys: bool = False,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._connection = connection
        self._say = _Statements(schema, lock_keys=lock_keys, max_bytes=max_bytes)

    def add(self, topic: str, key: str | None, payload: Payload, headers: Mapping[str, str] | None = None) -> int:
        """Write one message, and give its id. `key` None: no order matters. OutsideTransactionError in autocommit."""
        return self.add_many([(topic, key, payload, headers)])[0]

    def add_many(self, entries: Iterable[Entry]) -> list[int]:
        """Write messages in this order, in one round trip, and give their ids."""
        from psycopg import RawCursor, rows  # noqa: PLC0415 - the caller's connection is psycopg's

        _require_transaction(self._connection.autocommit, self._connection.info.transaction_status)
        columns = self._say.columns(entries)
        cursor = RawCursor(self._connection, row_factory=rows.tuple_row)
        if self._say.lock_keys:
            cursor.execute(self._say.lock, (columns[1],))
        return [row[0] for row in cursor.execute(self._say.add, columns).fetchall()]


class AsyncOutbox:
    """The same for an asynchronous connection: psycopg's AsyncConnection, or asyncpg's Connection."""

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - one of two drivers, none of which may be imported here
        *,
        schema: str = SCHEMA,
        lock_keys: bool = False,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._connection = connection
        self._say = _Statements(schema, lock_keys=lock_keys, max_bytes=max_bytes)
        self._run = self._by_asyncpg if hasattr(connection, "fetchval") else self._by_psycopg

    async def add(self, topic: str, key: str | None, payload: Payload, headers: Mapping[str, str] | None = None) -> int:
        """As `Outbox.add`."""
        return (await self.add_many([(topic, key, payload, headers)]))[0]

    async def add_many(self, entries: Iterable[Entry]) -> list[int]:
        """As `Outbox.add_many`."""
        columns = self._say.columns(entries)
        if self._say.lock_keys:
            await self._run(self._say.lock, columns[1])
        return [row[0] for row in await self._run(self._say.add, *columns)]

    async def _by_asyncpg(self, text: bytes, *values: object) -> list[Any]:
        if not self._connection.is_in_transaction():
            raise _outside()
        return list(await self._connection.fetch(text.decode(), *values))

    async def _by_psycopg(self, text: bytes, *values: object) -> list[Any]:
        from psycopg import AsyncRawCursor, rows  # noqa: PLC0415 - the caller's connection is psycopg's

        _require_transaction(self._connection.autocommit, self._connection.info.transaction_status)
        cursor = AsyncRawCursor(self._connection, row_factory=rows.tuple_row)
        await cursor.execute(text, values)
        return list(await cursor.fetchall())


def _require_transaction(autocommit: object, status: object) -> None:
    if autocommit and status == driver().pq.TransactionStatus.IDLE:
        raise _outside()


def _outside() -> OutsideTransactionError:
    return OutsideTransactionError(
        "Outbox.add: the connection commits each statement by itself, so the message could be there without the data; "
        "write both in one `with connection.transaction():`"
    )
