"""Faults of tables: gone, locked by somebody, rows and columns that changed upstream.

Laws: a fault strikes something or raises `FaultError`; its exit puts back what it changed and nothing else. Rows that
came and were written over since belong to whoever did that, and stay.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck

ASIDE = "premortem_aside"
"""The schema in which lies what was taken away; it is gone when all is back."""
WAIT_S = 5.0  # for whoever holds the table: shorter than the time limit of an exhibit


@dataclass(frozen=True, slots=True)
class Tables:
    """Strikes tables of the database at `url`. A table is named as in SQL, without quotes: "sales", "bronze.sales"."""

    url: str = field(repr=False)  # it carries a password, and a test that fails prints its fixtures

    @contextmanager
    def locked(self, table: str) -> Iterator[None]:
        """Somebody else holds `table` for the block: a migration, a forgotten psql. Statements on it wait."""
        with psycopg.connect(self.url, connect_timeout=5) as connection:
            connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(_name(table)))
            struck("lock", f"{table} is held by session {connection.info.backend_pid}")
            try:
                yield
            finally:
                connection.rollback()
                lifted("lock", table)

    @contextmanager
    def table_removed(self, table: str) -> Iterator[None]:
        """The table is gone: a clean-up, a migration, a step that never ran here. One made in its place goes."""
        with self._changing(f"{table} removed") as db:
            schema = _one(
                db,
                "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
                " WHERE c.oid = to_regclass(%s)",
                table,
            )
            if schema is None:
                raise FaultError(f"{table}: there is no such table to strike; create it before the fault is put in")
            home, moved = sql.Identifier(schema), sql.Identifier(ASIDE, table.rpartition(".")[2])
            _set_aside(db)
            db.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(_name(table), sql.Identifier(ASIDE)))
        struck("table removed", f"{table} is gone")
        try:
            yield
        finally:
            with self._changing(f"{table} put back") as db:
                db.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(schema, table.rpartition(".")[2])))
                db.execute(sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(moved, home))
                _tidy(db)
            lifted("table removed", table)

    @contextmanager
    def column_renamed(self, table: str, column: str, to: str) -> Iterator[None]:
        """A column of the table has another name: somebody migrated the schema and did not tell us."""
        self._rename(table, column, to)
        struck("column renamed", f"{table}: column {column} is now called {to}")
        try:
            yield
        finally:
            self._rename(table, to, column)
            lifted("column renamed", f"{table}: {column}")

    @contextmanager
    def rows_added(self, table: str, *rows: Sequence[object]) -> Iterator[None]:
        """More rows came: each of `rows` has a value for each column, in their order."""
        if not rows:
            raise FaultError(f"{table}: rows_added without a row strikes nothing; give at least one")
        values = sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, row))) for row in rows)
        statement = sql.SQL(
            "INSERT INTO {} VALUES {} RETURNING tableoid::text, ctid::text, pg_current_xact_id()::xid::text"
        )
        with self._changing(f"rows added to {table}") as db:
            places = db.execute(statement.format(_name(table), values)).fetchall()
        struck("rows added", f"{table}: {_shown(rows)}")
        try:
            yield
        finally:
            untouched = sql.SQL("DELETE FROM {} WHERE tableoid = %s::oid AND ctid = %s::tid AND xmin::text = %s")
            with self._changing(f"rows taken out of {table} again") as db:
                left = sum(db.execute(untouched.format(_name(table)), place).rowcount for place in places)
            lifted("rows added", f"{table}: {left} of {len(places)} taken out")

    @contextmanager
    def rows_removed(self, table: str, **where: object) -> Iterator[None]:
        """The rows in which each column of `where` has that value did not come, or somebody deleted them."""
        kept, condition = sql.Identifier(ASIDE, f"rows_{uuid.uuid4().hex}"), _condition(where)
        with self._changing(f"rows removed from {table}") as db:
            _set_aside(db)
            take = sql.SQL("CREATE TABLE {} AS SELECT * FROM {} WHERE {}")
            gone = db.execute(take.format(kept, _name(table), condition)).rowcount
            if not gone:
                raise FaultError(f"{table}: no row has {where}, so nothing was struck; name a row that is there")
            db.execute(sql.SQL("DELETE FROM {} WHERE {}").format(_name(table), condition))
        struck("rows removed", f"{table}: {gone} with {', '.join(f'{name} {value}' for name, value in where.items())}")
        try:
            yield
        finally:
            give = sql.SQL("INSERT INTO {} OVERRIDING SYSTEM VALUE SELECT * FROM {}")
            with self._changing(f"rows put back into {table}") as db:
                db.execute(give.format(_name(table), kept))
                db.execute(sql.SQL("DROP TABLE {}").format(kept))
                _tidy(db)
            lifted("rows removed", f"{table}: {gone} are back")

    def _rename(self, table: str, column: str, to: str) -> None:
        statement = sql.SQL("ALTER TABLE {} RENAME COLUMN {} TO {}")
        with self._changing(f"{table}.{column} renamed to {to}") as db:
            db.execute(statement.format(_name(table), sql.Identifier(column), sql.Identifier(to)))

    @contextmanager
    def _changing(self, what: str) -> Iterator[psycopg.Connection]:
        """One transaction of the injector's own; what the server refuses is the injector's failure."""
        try:
            with psycopg.connect(self.url, connect_timeout=5) as connection:
                connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{WAIT_S}s",))
                yield connection
        except psycopg.Error as error:
            said = str(error).strip()
            raise FaultError(f"{what}: PostgreSQL refused: {said}; strike what it lets be changed") from error


def _name(table: str) -> sql.Identifier:
    return sql.Identifier(*table.split("."))


def _condition(where: dict[str, object]) -> sql.Composable:
    """Every column has its value, NULL included."""
    if not where:
        raise FaultError("rows_removed without a condition would take all rows; name a column and its value")
    each = (
        sql.SQL("{} IS NOT DISTINCT FROM {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in where.items()
    )
    return sql.SQL(" AND ").join(each)


def _set_aside(db: psycopg.Connection) -> None:
    db.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(ASIDE)))


def _tidy(db: psycopg.Connection) -> None:
    """Drop the schema when nothing lies in it any more: several faults may be in at once."""
    if not _one(db, "SELECT count(*) FROM pg_class WHERE relnamespace = to_regnamespace(%s)", ASIDE):
        db.execute(sql.SQL("DROP SCHEMA {}").format(sql.Identifier(ASIDE)))


def _one(db: psycopg.Connection, statement: LiteralString, value: str) -> Any:  # noqa: ANN401 - whatever it selects
    row = db.execute(statement, (value,)).fetchone()
    return row[0] if row else None


def _shown(rows: Sequence[Sequence[object]]) -> str:
    """The first row, and how many more."""
    first = ", ".join("NULL" if value is None else str(value) for value in rows[0])
    return f"({first}) came" + (f", and {len(rows) - 1} more" if len(rows) > 1 else "")
