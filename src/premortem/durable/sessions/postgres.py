"""PostgreSQL: a connection of the session's own, made from a URL, or the caller's, in the caller's transaction."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.postgres_connecting import checked, connected
from premortem.durable.sessions.postgres_tables import (
    are_there,
    driver,
    make_tables,
    plain_cursor,
    statement,
    valid_schema,
)
from premortem.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]
    Cursor = psycopg.Cursor[tuple[Any, ...]]

# The bound is for one statement; the caller's own is back behind it, or with the caller's rollback.
_BOUNDED = """
SELECT set_config('premortem.lock_timeout', current_setting('lock_timeout'), true);
SELECT set_config('lock_timeout', %(wait_ms)s, true);
{statement};
SELECT set_config('lock_timeout', current_setting('premortem.lock_timeout'), true)
"""


class PostgresSession:
    """`tables` (the text that makes them) are made at the first use of a URL, where one of them is not there yet.

    `part` is what the server's list of connections calls it. `wait_s`: how long to wait for another's lock, in a
    connection of its own; in the caller's, which has its caller's bounds, only in `waiting`. `answer_s`: seconds after
    which a silent server is cut off, in a connection of its own.
    """

    def __init__(  # noqa: PLR0913 - all that a store was told
        self,
        place: Connection | str,
        schema: str,
        tables: str,
        *,
        owner: str,
        part: str,
        wait_s: float,
        answer_s: float,
    ) -> None:
        if not 0.001 <= wait_s < answer_s <= 3600:  # noqa: PLR2004 - said in words
            raise ConfigurationError(
                f"{owner}(wait_s={wait_s!r}, answer_s={answer_s!r}): has to be 0.001 s or more, and then more than "
                "that, up to 3600 s"
            )
        self.schema = valid_schema(schema)
        self._tables, self._owner, self._part = tables, owner, part
        self._wait_ms, self._answer_s = f"{max(1, round(wait_s * 1000))}", answer_s
        self._url = checked(place, owner) if isinstance(place, str) else ""
        self._given = None if isinstance(place, str) else place
        self._own: Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()
        self._texts: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"{self._owner}(schema={self.schema!r})"

    @property
    def transactional(self) -> bool:
        """Whether what is written is part of the caller's transaction."""
        return self._given is not None

    def sql(self, text: str) -> bytes:
        """`text` with its {schema} filled in."""
        if text not in self._texts:
            self._texts[text] = statement(text, self.schema)
        return self._texts[text]

    @contextmanager
    def asking(self) -> Iterator[Cursor]:
        """A cursor, for one thread at a time and not for ever; what the server says, in our words.

        Errors other than a server that is down come out as psycopg's: a serialization failure is its caller's to retry.
        """
        psycopg = driver()
        with self._thread:
            connection = None
            try:
                connection = self._connection()
                with self._bounded(connection):
                    yield plain_cursor(connection)
            except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
                raise ConfigurationError(
                    f"{self!r}: has no tables there ({_line(error)}); call create_tables(connection, "
                    f"schema={self.schema!r}) once"
                ) from error
            except psycopg.Error as error:
                self._drop()
                if _is_down(error, connection):
                    raise StoreDownError(repr(self), _line(error)) from None  # its text may name the user's URL
                raise

    @contextmanager
    def changing(self) -> Iterator[Cursor]:
        """As `asking`, in a transaction: the caller's, or one that ends with the block."""
        with self.asking() as cursor:
            connection = cursor.connection
            if connection.autocommit and connection.info.transaction_status == driver().pq.TransactionStatus.IDLE:
                with connection.transaction():
                    yield cursor
            else:
                yield cursor

    def waiting(self, cursor: Cursor, text: str, values: Mapping[str, object]) -> Cursor:
        """What `text` gives, which may have to wait for another's lock: `wait_s` seconds at most, whoever's connection.

        `cursor` is that of `changing`. It is one round trip, and `values` have to be small.
        """
        if self._given is None:
            return cursor.execute(self.sql(text), values)
        bounded: Cursor = driver().ClientCursor(cursor.connection, row_factory=driver().rows.tuple_row)
        bounded.execute(self.sql(_BOUNDED.replace("{statement}", text)), {**values, "wait_ms": self._wait_ms})
        bounded.nextset()
        bounded.nextset()
        return bounded

    @contextmanager
    def together(self) -> Iterator[None]:
        """With a connection of the caller's, all of the block is kept or none of it; else nothing is promised.

        A transaction that is open, or that this connection opens by itself, stays the caller's to commit.
        """
        if self._given is None:
            yield
            return
        idle = driver().pq.TransactionStatus.IDLE
        if not self._given.autocommit and self._given.info.transaction_status == idle:
            with self.asking() as cursor:
                cursor.execute("SELECT")  # the driver begins; what follows is a savepoint
        with self._given.transaction():
            yield

    def close(self) -> None:
        """Close the connection, if it is the session's own."""
        with self._thread:
            self._drop()

    def _connection(self) -> Connection:
        if self._given is not None:
            return self._given
        if self._process != os.getpid():  # a connection must not be carried through a fork
            self._own, self._process = None, os.getpid()
        if self._own is None or self._own.closed:
            connection = connected(self._url, repr(self), self._part)
            try:
                with self._bounded(connection):
                    connection.execute(f"SET lock_timeout = {self._wait_ms}")
                    if not are_there(connection, self._tables, self.schema):
                        make_tables(connection, self._tables, self.schema)
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
        if self._own is not None and self._process == os.getpid():
            self._own.close()
        self._own = None


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
