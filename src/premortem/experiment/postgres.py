"""PostgreSQL as an exhibit sees it: a database of its own, or a whole server of its own to strike down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.experiment.tables import Tables
from premortem.faults.strike import lifted, struck
from premortem.servers import databases
from premortem.servers.postgres import PostgresServer

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Database(Tables):
    """A database at `url`: the judge's own way to look into it, and faults of its tables."""

    @classmethod
    def create(cls, admin_url: str, name: str) -> Self:
        """A new, empty database on the server at `admin_url`."""
        if not admin_url:
            raise ConfigurationError('lab.postgres: this exhibit did not ask for it; write NEEDS = ("postgres",)')
        return cls(databases.create(admin_url, name))

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        parts = urlsplit(self.url)
        return parts.hostname or "127.0.0.1", parts.port or 5432

    def through(self, port: int) -> str:
        """The same database by way of another port: a proxy's."""
        parts = urlsplit(self.url)
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def query(self, statement: LiteralString, *values: object) -> list[Row]:
        """Run one statement in a connection of its own, committed; the rows it gives, if it gives any."""
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def value(self, statement: LiteralString, *values: object) -> Any:  # noqa: ANN401 - whatever the statement selects
        """The one value that a statement selects."""
        return self.query(statement, *values)[0][0]


@dataclass(frozen=True, slots=True)
class OwnServer:
    """A server of one variant's own: it can be struck down, and its users are nobody else's."""

    server: PostgresServer

    @property
    def database(self) -> Database:
        """Its database, as the superuser sees it."""
        return Database(self.server.url())

    @contextmanager
    def down(self) -> Iterator[None]:
        """The server is killed with everything it was doing, and starts again when the block ends."""
        pid = self.server.pid
        self.server.kill()
        struck("server down", f"PostgreSQL killed, process {pid}")
        try:
            yield
        finally:
            began = time.monotonic()
            self.server.start()
            lifted("server down", f"it recovered and answers after {time.monotonic() - began:.2f} s")

    def add_user(self, name: str, password: str) -> str:
        """Make a user who may log in and own schemas and tables; the URL with which it does."""
        self._alter("CREATE ROLE {} LOGIN PASSWORD {}", name, password)
        self._alter("GRANT CREATE ON SCHEMA public TO {}", name)
        self._alter("GRANT CREATE ON DATABASE postgres TO {}", name)
        emit("user.added", what=name)
        host, port = self.database.address
        return f"postgresql://{quote(name)}:{quote(password, safe='')}@{host}:{port}/postgres"

    @contextmanager
    def password_changed(self, name: str, before: str, after: str) -> Iterator[None]:
        """Somebody rotated the password of `name` and did not tell us."""
        self._alter("ALTER ROLE {} PASSWORD {}", name, after)
        struck("password rotated", f"user {name} has another password now")
        try:
            yield
        finally:
            self._alter("ALTER ROLE {} PASSWORD {}", name, before)
            lifted("password rotated", name)

    def _alter(self, statement: LiteralString, name: str, password: str = "") -> None:
        parts = [sql.Identifier(name), *([sql.Literal(password)] if password else [])]
        with psycopg.connect(self.server.url(), connect_timeout=5) as connection:
            connection.execute(sql.SQL(statement).format(*parts))
