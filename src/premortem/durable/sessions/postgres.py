"""PostgreSQL: a connection of the session's own, made from a URL, or the caller's, in the caller's transaction."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from premortem.durable.errors import StoreDownError
from premortem.errors import ConfigurationError, MissingRequirementError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]
    Make = Callable[[Connection, str], None]

SCHEMA = "premortem"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_CONNECT_S = 5
_MAKING = 0x7072656D  # an advisory lock: two that make the tables at the same moment would trip over each other


class PostgresSession:
    """`make(connection, schema)` makes the tables, in a database of its own at the first use.

    `wait_s`: how long to wait for another's lock; `answer_s`: seconds after which a silent server is cut off. Both are
    for a connection of its own: the caller's has its caller's bounds.
    """

    def __init__(  # noqa: PLR0913 - all that a store was told
        self, place: Connection | str, schema: str, make: Make, *, owner: str, wait_s: float, answer_s: float
    ) -> None:
        if not 0.001 <= wait_s < answer_s <= 3600:  # noqa: PLR2004 - said in words
            raise ConfigurationError(
                f"{owner}(wait_s={wait_s!r}, answer_s={answer_s!r}): has to be 0.001 s or more, and then more than "
                "that, up to 3600 s"
            )
        self.schema = valid(schema)
        self._make, self._owner, self._wait_s, self._answer_s = make, owner, wait_s, answer_s
        self._url = place if isinstance(place, str) else ""
        self._given = None if isinstance(place, str) else place
        self._own: Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()
        self._texts: dict[str, str] = {}
        driver()

    def __repr__(self) -> str:
        return f"{self._owner}(schema={self.schema!r})"

    @property
    def transactional(self) -> bool:
        """Whether what is written is part of the caller's transaction."""
        return self._given is not None

    def sql(self, text: str) -> str:
        """`text` with its {schema} filled in."""
        if text not in self._texts:
            self._texts[text] = text.replace("{schema}", f'"{self.schema}"')  # `valid` has seen it
        return self._texts[text]

    @contextmanager
    def asking(self) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """A cursor, for one thread at a time and not for ever; what the server says, in our words.

        Errors other than a server that is down come out as psycopg's: a serialization failure is its caller's to retry.
        """
        psycopg = driver()
        with self._thread:
            connection = None
            try:
                connection = self._connection()
                with self._bounded(connection):
                    yield psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)
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
    def changing(self) -> Iterator[psycopg.Cursor[tuple[Any, ...]]]:
        """As `asking`, in a transaction: the caller's, or one that ends with the block."""
        with self.asking() as cursor:
            connection = cursor.connection
            if connection.autocommit and connection.info.transaction_status == driver().pq.TransactionStatus.IDLE:
                with connection.transaction():
                    yield cursor
            else:
                yield cursor

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
            connection: Connection = driver().connect(
                self._url, autocommit=True, connect_timeout=_CONNECT_S, application_name="premortem"
            )  # fmt: skip
            try:
                with self._bounded(connection):
                    connection.execute(f"SET lock_timeout = {max(1, round(self._wait_s * 1000))}")
                    make_once(connection, self.schema, self._make)
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


def make_once(connection: Connection, schema: str, make: Make) -> None:
    """Make the schema and the tables of `make`, where they are not there yet, one maker at a time."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_MAKING,))
        connection.execute(f'CREATE SCHEMA IF NOT EXISTS "{valid(schema)}"')
        make(connection, schema)


def valid(schema: object) -> str:
    """The name, which can be quoted as it is; ConfigurationError where it cannot."""
    if not isinstance(schema, str) or not _NAME.fullmatch(schema):
        raise ConfigurationError(
            f"schema {schema!r}: has to be 1-63 of a-z, 0-9 and _, not beginning with a digit; rename it"
        )
    return schema


def driver() -> Any:  # noqa: ANN401 - a module
    """The module psycopg, or MissingRequirementError."""
    try:
        import psycopg  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingRequirementError(
            "psycopg", "the package is not installed", "pip install 'premortem[retail]', which brings it"
        ) from None
    return psycopg


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
