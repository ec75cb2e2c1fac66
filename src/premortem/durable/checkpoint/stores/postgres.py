"""Checkpoints in PostgreSQL: in the caller's open transaction, or by a connection of the store's own.

With the caller's connection, data and progress commit together or not at all, which is the one way to exactly once:

    with connection.transaction():
        copy_rows(connection, chunk)
        checkpoint.save({"chunks": chunk.number})

Time is the server's. A change waits at most `wait_s` seconds for another transaction that has changed the same name.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import StoreDownError
from premortem.errors import ConfigurationError, MissingRequirementError

if TYPE_CHECKING:
    import psycopg
    from psycopg import sql

    Connection = psycopg.Connection[Any]

SCHEMA = "premortem"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_S = 5
_TRIES = 20  # for a name that others are making at the same moment
# One round trip. The wait is bounded for this one statement; the caller's own bound is back behind it.
_LOCK = """
SELECT set_config('premortem.lock_timeout', current_setting('lock_timeout'), true);
SELECT set_config('lock_timeout', {limit}, true);
SELECT head, clock_timestamp() FROM {schema}.checkpoint_head WHERE name = {name} FOR UPDATE;
SELECT set_config('lock_timeout', current_setting('premortem.lock_timeout'), true)
"""
_THERE = "SELECT to_regclass(%s)"
_NOW = "SELECT clock_timestamp()"
_READ = """
SELECT 0::bigint, head, clock_timestamp() FROM {schema}.checkpoint_head WHERE name = %(name)s
UNION ALL SELECT version, document, clock_timestamp() FROM {schema}.checkpoint WHERE name = %(name)s
UNION ALL SELECT -1, NULL, clock_timestamp()
"""
_MAKE = "INSERT INTO {schema}.checkpoint_head VALUES (%(name)s, %(head)b) ON CONFLICT DO NOTHING"
_HEAD = "UPDATE {schema}.checkpoint_head SET head = %(head)b WHERE name = %(name)s"
_SAVE = """
WITH head AS (UPDATE {schema}.checkpoint_head SET head = %(head)b WHERE name = %(name)s),
    old AS (DELETE FROM {schema}.checkpoint WHERE name = %(name)s AND version <= %(forget)s)
INSERT INTO {schema}.checkpoint (name, version, document) VALUES (%(name)s, %(version)s, %(document)b)
ON CONFLICT (name, version) DO UPDATE SET document = excluded.document, saved_at = excluded.saved_at
"""
_REMOVE = """
WITH head AS (DELETE FROM {schema}.checkpoint_head WHERE name = %(name)s)
DELETE FROM {schema}.checkpoint WHERE name = %(name)s
"""


def create_tables(connection: Connection, *, schema: str = SCHEMA) -> None:
    """Make the schema and the two tables where they are not there yet; committed with the caller's transaction."""
    text = Path(__file__).with_suffix(".sql").read_text()
    connection.execute(_composed(text, _valid(schema)))


class PostgresStore:
    """Keeps checkpoints in the tables of `create_tables`.

    `place` is an open connection, in whose transaction everything happens (in autocommit: in one of its own for each
    change), or a URL: then the store makes the tables, connects when needed and again after a restart of the server,
    and no answer may take longer than `answer_s` seconds.
    """

    def __init__(
        self, place: Connection | str, *, schema: str = SCHEMA, wait_s: float = 5.0, answer_s: float = 15.0
    ) -> None:
        if not 0.001 <= wait_s < answer_s <= 3600:  # noqa: PLR2004 - said in words
            raise ConfigurationError(
                f"PostgresStore(wait_s={wait_s!r}, answer_s={answer_s!r}): has to be 0.001 s or more, and then more "
                "than that, up to 3600 s"
            )
        self._schema = _valid(schema)
        self._limit = f"{max(1, round(wait_s * 1000))}ms"
        self._answer_s = answer_s
        self._url = place if isinstance(place, str) else ""
        self._given = None if isinstance(place, str) else place
        self._own: Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()
        _driver()

    def __repr__(self) -> str:
        return f"PostgresStore(schema={self._schema!r})"

    @property
    def transactional(self) -> bool:
        """As `CheckpointStore.transactional`."""
        return self._given is not None

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        with self._told() as connection:
            rows = _cursor(connection).execute(self._sql(_READ), {"name": name}).fetchall()
        heads = [raw for version, raw, _ in rows if version == 0]
        documents = tuple((version, raw) for version, raw, _ in rows if version > 0)
        return Kept(heads[0] if heads else None, documents, rows[-1][2].astimezone(UTC))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`. A conflict of serializable transactions (40001) comes out as psycopg's."""
        with self._told() as connection:
            for _ in range(_TRIES):
                with _in_transaction(connection):
                    head, now = self._lock(connection, name)
                    change = decide(head, now)
                    if change is None or self._write(connection, name, change, new=head is None):
                        return
        raise StoreDownError(repr(self), f"{name!r} is made and removed by others all the time")

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        with self._told() as connection, _in_transaction(connection):
            _cursor(connection).execute(self._sql(_REMOVE), {"name": name})

    def close(self) -> None:
        """Close the connection, if it is the store's own."""
        with self._thread:
            if self._own is not None and self._process == os.getpid():
                self._own.close()
            self._own = None

    def _lock(self, connection: Connection, name: str) -> tuple[bytes | None, datetime]:
        from psycopg import sql  # noqa: PLC0415 - optional

        cursor = _cursor(connection)
        cursor.execute(self._sql(_LOCK, limit=sql.Literal(self._limit), name=sql.Literal(name)))
        cursor.nextset()
        cursor.nextset()
        row = cursor.fetchone()
        if row is not None:
            return bytes(row[0]), row[1].astimezone(UTC)
        now = _cursor(connection).execute(_NOW).fetchone()
        assert now is not None
        return None, now[0].astimezone(UTC)

    def _write(self, connection: Connection, name: str, change: Change, *, new: bool) -> bool:
        """False where the name is new, and somebody else has made it first."""
        told = {
            "name": name, "head": change.head, "version": change.version, "document": change.document,
            "forget": change.forget,
        }  # fmt: skip
        if new and not _cursor(connection).execute(self._sql(_MAKE), told).rowcount:
            return False
        if change.document is not None:
            _cursor(connection).execute(self._sql(_SAVE), told)
        elif not new:
            _cursor(connection).execute(self._sql(_HEAD), told)
        return True

    def _sql(self, text: str, **parts: sql.Composable) -> sql.Composed:
        return _composed(text, self._schema, **parts)

    @contextmanager
    def _told(self) -> Iterator[Connection]:
        """The connection, for one thread at a time and not for ever; what it says, in our words."""
        psycopg = _driver()
        with self._thread:
            connection = None
            try:
                connection = self._connection()
                with self._bounded(connection):
                    yield connection
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                raise ConfigurationError(
                    f"{self!r}: has no tables there ({_line(error)}); call create_tables(connection, "
                    f"schema={self._schema!r}) once"
                ) from error
            except psycopg.Error as error:
                self._drop()
                if _is_down(error, connection):
                    raise StoreDownError(repr(self), _line(error)) from None  # its text may name the user's URL
                raise

    def _connection(self) -> Connection:
        if self._given is not None:
            return self._given
        if self._process != os.getpid():  # a connection must not be carried through a fork
            self._own, self._process = None, os.getpid()
        if self._own is None or self._own.closed:
            connection = _driver().connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_S, application_name="premortem checkpoint"
            )  # fmt: skip
            try:
                with self._bounded(connection), connection.transaction():
                    there = _cursor(connection).execute(_THERE, (f"{self._schema}.checkpoint",)).fetchone()
                    if there is None or there[0] is None:  # whoever may only write need not be allowed to make tables
                        create_tables(connection, schema=self._schema)
            except BaseException:
                connection.close()
                raise
            self._own = connection
        return self._own

    @contextmanager
    def _bounded(self, connection: Connection) -> Iterator[None]:
        """A server that is silent is cut off; the connection of a caller has bounds of its caller's."""
        if self._given is not None:
            yield
            return
        wire = socket.socket(fileno=os.dup(connection.fileno()))
        watch = threading.Timer(self._answer_s, _cut, (wire,))
        watch.daemon = True
        watch.start()
        try:
            yield
        finally:
            watch.cancel()
            wire.close()

    def _drop(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None


def _driver() -> Any:  # noqa: ANN401 - a module
    try:
        import psycopg  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingRequirementError(
            "psycopg", "the package is not installed", "pip install 'premortem[retail]', which brings it"
        ) from None
    return psycopg


def _cursor(connection: Connection) -> psycopg.Cursor[tuple[Any, ...]]:
    """A plain one, whatever factories the caller's connection has."""
    from psycopg import Cursor, rows  # noqa: PLC0415 - optional

    return Cursor(connection, row_factory=rows.tuple_row)


def _composed(text: str, schema: str, **parts: sql.Composable) -> sql.Composed:
    from psycopg import sql  # noqa: PLC0415 - optional

    return sql.SQL(text).format(schema=sql.Identifier(schema), **parts)


def _valid(schema: str) -> str:
    if not _NAME.fullmatch(schema):
        raise ConfigurationError(
            f"schema {schema!r}: has to be 1-63 of a-z, 0-9 and _, not beginning with a digit; rename it"
        )
    return schema


@contextmanager
def _in_transaction(connection: Connection) -> Iterator[None]:
    """In the caller's, which psycopg opens if need be and which stays the caller's; in autocommit, in our own."""
    if connection.autocommit and connection.info.transaction_status == _driver().pq.TransactionStatus.IDLE:
        with connection.transaction():
            yield
    else:
        yield


def _is_down(error: psycopg.Error, connection: Connection | None) -> bool:
    """No connection, a lock that nobody gives back, a full disk, a server that shuts down or only reads."""
    if connection is None or connection.closed:
        return True
    state = error.sqlstate or ""
    return state[:2] in ("08", "53", "57", "58") or state in ("55P03", "25006")


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())


def _cut(wire: socket.socket) -> None:
    with suppress(OSError):  # it has ended meanwhile
        wire.shutdown(socket.SHUT_RDWR)
