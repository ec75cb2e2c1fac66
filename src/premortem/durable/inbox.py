"""Exactly once in: a message's id is written in the transaction of what the message does.

    with connection.transaction():
        if Inbox(connection, "billing").once(message_id):
            connection.execute("UPDATE accounts SET ...")
    # acknowledge to the broker only now

Laws:
- The id and the effect commit together, or neither does: a message that comes again after a crash finds its id, or does
  its work for the first time.
- Two consumers with the same message at the same time: the second waits for the first, at most `wait_s` seconds, and
  does the work if the first one fails.
- Ids are kept until `forget`: for longer than a broker, or a replay by hand, can bring a message back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from premortem.durable.errors import DurableError
from premortem.durable.outbox.errors import OutsideTransactionError
from premortem.durable.sessions.postgres_tables import SCHEMA, driver, make_tables, plain_cursor, statement
from premortem.errors import ConfigurationError
from premortem.policies import checks
from premortem.ports import Clock, SystemClock

if TYPE_CHECKING:
    import psycopg

_ID_MOST = 1000  # an index takes up to some 2,700 bytes

_TABLES = """
CREATE TABLE IF NOT EXISTS {schema}.inbox (
    consumer text NOT NULL,
    message_id text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX IF NOT EXISTS inbox_seen_at ON {schema}.inbox (seen_at);
-- The bound on the wait is for this one statement; the caller's own is back behind it, or with the caller's rollback.
CREATE OR REPLACE FUNCTION {schema}.inbox_once(consumer text, message_id text, seen_at timestamptz, wait_ms integer)
RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    bound text := current_setting('lock_timeout');
    new boolean;
BEGIN
    PERFORM set_config('lock_timeout', wait_ms || 'ms', true);
    INSERT INTO {schema}.inbox VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;
    new := FOUND;
    PERFORM set_config('lock_timeout', bound, true);
    RETURN new;
END $$;
"""
_ONCE = "SELECT {schema}.inbox_once($1, $2, $3, $4)"
# From the last one on, so that nobody walks again over what is deleted and not yet cleared away.
_FORGET = """
WITH old AS (
    SELECT ctid, seen_at FROM {schema}.inbox WHERE seen_at >= %(after)s AND seen_at < %(before)s
    ORDER BY seen_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), gone AS (DELETE FROM {schema}.inbox WHERE ctid = ANY (ARRAY(SELECT ctid FROM old)))
SELECT count(*), max(seen_at) FROM old
"""


class InboxBusyError(DurableError):
    """Another consumer is at work on the same message: roll back, and let the broker bring it again later."""


def create_tables(connection: psycopg.Connection[Any], *, schema: str = SCHEMA) -> None:
    """Make the schema, the table and its function where they are not there; committed with the caller's transaction."""
    make_tables(connection, _TABLES, schema)


class Inbox:
    """What a consumer has already taken, in the open transaction of a psycopg connection.

    `consumer`: each consumer of the same messages has its own name, and takes each message once. `wait_s`: seconds.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        consumer: str = "default",
        *,
        schema: str = SCHEMA,
        wait_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._call = _Call(consumer, schema, wait_s, clock)

    def once(self, message_id: str) -> bool:
        """True the first time: do the work in this transaction. False: it was done; only acknowledge.

        InboxBusyError where another has the message and does not end. OutsideTransactionError in autocommit.
        """
        from psycopg import RawCursor, rows  # noqa: PLC0415 - the caller's connection is psycopg's

        self._call.require_transaction(self._connection)
        cursor = RawCursor(self._connection, row_factory=rows.tuple_row)
        try:
            row = cursor.execute(self._call.text, self._call.values(message_id)).fetchone()
        except driver().errors.LockNotAvailable:
            raise self._call.busy(message_id) from None
        assert row is not None
        return bool(row[0])

    def forget(self, older_than_s: float, *, limit: int = 10_000) -> int:
        """Delete the ids of all consumers that are older than so many seconds: how many.

        In batches of `limit`, which in autocommit are transactions of their own.
        """
        before = self._call.clock.now() - timedelta(seconds=checks.number("older_than_s", older_than_s, 0, 1e10))
        text, after = statement(_FORGET, self._call.schema), "-infinity"
        count: int = 0
        while True:
            values = {"after": after, "before": before, "limit": checks.whole("limit", limit, 1, 1_000_000)}
            found, latest = plain_cursor(self._connection).execute(text, values).fetchall()[0]
            count += found
            if found < limit:
                return count
            after = latest


class AsyncInbox:
    """The same for an asynchronous connection: psycopg's AsyncConnection, or asyncpg's Connection."""

    def __init__(
        self,
        connection: Any,  # noqa: ANN401 - one of two drivers, none of which may be imported here
        consumer: str = "default",
        *,
        schema: str = SCHEMA,
        wait_s: float = 5.0,
        clock: Clock | None = None,
    ) -> None:
        self._connection = connection
        self._call = _Call(consumer, schema, wait_s, clock)
        self._run = self._by_asyncpg if hasattr(connection, "fetchval") else self._by_psycopg

    async def once(self, message_id: str) -> bool:
        """As `Inbox.once`."""
        return bool(await self._run(message_id))

    async def _by_asyncpg(self, message_id: str) -> object:
        from asyncpg import exceptions  # type: ignore[import-untyped]  # noqa: PLC0415 - the caller's

        if not self._connection.is_in_transaction():
            raise _outside()
        try:
            return await self._connection.fetchval(self._call.text.decode(), *self._call.values(message_id))
        except exceptions.LockNotAvailableError:
            raise self._call.busy(message_id) from None

    async def _by_psycopg(self, message_id: str) -> object:
        from psycopg import AsyncRawCursor, rows  # noqa: PLC0415 - the caller's connection is psycopg's

        self._call.require_transaction(self._connection)
        cursor = AsyncRawCursor(self._connection, row_factory=rows.tuple_row)
        try:
            await cursor.execute(self._call.text, self._call.values(message_id))
        except driver().errors.LockNotAvailable:
            raise self._call.busy(message_id) from None
        return ((await cursor.fetchone()) or (False,))[0]


class _Call:
    """What both inboxes say to the database."""

    def __init__(self, consumer: str, schema: str, wait_s: float, clock: Clock | None) -> None:
        self.consumer = _checked("consumer", consumer)
        self.schema = schema
        self.text = statement(_ONCE, schema)
        self.clock = clock or SystemClock()
        self._wait_ms = max(1, round(checks.seconds("wait_s", wait_s) * 1000))

    def values(self, message_id: str) -> tuple[Any, ...]:
        return (self.consumer, _checked("message_id", message_id), self.clock.now(), self._wait_ms)

    def busy(self, message_id: str) -> InboxBusyError:
        return InboxBusyError(
            f"message {message_id!r}: another {self.consumer!r} has been at work on it for more than "
            f"{self._wait_ms / 1000:g} s; roll back and let the broker bring it again, or raise wait_s"
        )

    def require_transaction(self, connection: Any) -> None:  # noqa: ANN401 - synchronous or not
        idle = driver().pq.TransactionStatus.IDLE
        if connection.autocommit and connection.info.transaction_status == idle:
            raise _outside()


def _checked(what: str, name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name) <= _ID_MOST or "\0" in name:
        raise ConfigurationError(
            f"{what} {name!r:.200}: has to be a text of 1 to {_ID_MOST} characters without NUL; where the broker gives "
            "none, have the producer put one in"
        )
    return name


def _outside() -> OutsideTransactionError:
    return OutsideTransactionError(
        "Inbox.once: the connection commits each statement by itself, so a message could count as done without its "
        "work; do both in one `with connection.transaction():`"
    )
