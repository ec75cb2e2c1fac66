"""A plan that makes what is into what should be: statements as data, tried out first, applied as a whole or not at all.

Each statement touches one row, and only while that row is as the report saw it; applying a plan twice does nothing the
second time. What has changed since is left alone and counted: the next reconciliation will say what became of it.
"""

# ruff: noqa: S608 - every name in a statement is quoted, every value a parameter, the query its owner's

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from premortem.durable.errors import RepairConflictError, StoreDownError
from premortem.durable.reconciling.columns import Columns, Row, Value
from premortem.durable.reconciling.drill import Found, merged
from premortem.durable.reconciling.lite import quoted
from premortem.durable.reconciling.report import Difference, Report
from premortem.durable.reconciling.sides import Side, Tally
from premortem.errors import ConfigurationError
from premortem.events import emit

if TYPE_CHECKING:
    from psycopg import Connection

Execute = Callable[[str, "tuple[object, ...]"], int]
Dialect = Literal["postgres", "sqlite"]
_LOCK_MS = 10_000
_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Statement:
    """One row's repair: `sql` with `parameters` by position, for the `difference` that it removes.

    It is left alone where the query `unless` finds a row.
    """

    sql: str
    parameters: tuple[object, ...]
    difference: Difference
    unless: str = ""
    unless_parameters: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Repaired:
    """What applying did, or would have done (`dry_run`): rows `applied`; `stale` ones had changed since the report."""

    applied: int
    stale: int
    dry_run: bool


@dataclass(frozen=True, slots=True)
class RepairPlan:
    """Statements against `table`, in an order that frees keys before they are taken."""

    name: str
    table: str
    dialect: Dialect
    columns: Columns
    statements: tuple[Statement, ...]

    def apply(
        self,
        connection: Connection[Any] | sqlite3.Connection,
        *,
        again: tuple[Side, Side] | None = None,
        dry_run: bool = True,
    ) -> Repaired:
        """Do it in one transaction of `connection`, which has to be in none; a dry run rolls it back.

        `again` are the two sides (expected, actual), to be asked once more before: what is no difference any more, or
        another one, is left alone. Where rows are inserted, the table takes no other writes meanwhile.
        RepairConflictError where the database refuses, StoreDownError where it does not answer; then nothing was done,
        unless it went away at the commit: apply the plan again, it does nothing twice.
        """
        wanted = self.statements if again is None else tuple(self._still(*again))
        applied = 0
        with _TRANSACTIONS[self.dialect](self, connection, dry_run) as execute:
            for statement in wanted:
                applied += _done(statement, execute)
        done = Repaired(applied, len(self.statements) - applied, dry_run)
        emit("reconcile.repaired", reconciliation=self.name, applied=applied, stale=done.stale, dry_run=dry_run)
        return done

    def _still(self, expected: Side, actual: Side) -> Iterator[Statement]:
        """Those whose difference is still the same."""
        keys = sorted({statement.difference.key for statement in self.statements})
        counts: Counter[tuple[object, ...]] = Counter()
        found = Found(Tally(), Tally())
        with expected.look(self.columns) as should, actual.look(self.columns, should) as be:
            for begin in range(0, len(keys), _AT_ONCE):
                some = keys[begin : begin + _AT_ONCE]
                counts.update(map(self._form, merged(should.rows_of(some), be.rows_of(some), self.columns, found)))
        for statement in self.statements:
            form = self._form(statement.difference)
            if counts[form] > 0:
                counts[form] -= 1
                yield statement

    def _form(self, difference: Difference) -> tuple[object, ...]:
        rows = (difference.expected, difference.actual)
        return difference.what, *(None if row is None else self.columns.form(row) for row in rows)


def _done(statement: Statement, execute: Execute) -> int:
    """1 where it was done, 0 where its row is not as the report saw it."""
    if statement.unless and execute(statement.unless, statement.unless_parameters):
        return 0
    return execute(statement.sql, statement.parameters)


@contextmanager
def _in_postgres(plan: RepairPlan, connection: Connection[Any], dry_run: bool) -> Iterator[Execute]:  # noqa: FBT001 - internal
    import psycopg  # noqa: PLC0415 - whoever has such a connection has it

    if connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
        raise ConfigurationError(f"{plan.name}: the connection is in a transaction; commit it, or pass another one")
    try:
        with connection.transaction(force_rollback=dry_run), connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE")
            cursor.execute("SET LOCAL TimeZone = 'UTC'")
            cursor.execute(f"SET LOCAL lock_timeout = {_LOCK_MS}")
            if any(statement.unless for statement in plan.statements):
                cursor.execute(f"LOCK TABLE {plan.table} IN SHARE ROW EXCLUSIVE MODE")
            yield lambda sql, parameters: max(0, cursor.execute(sql, parameters).rowcount)
    except psycopg.errors.LockNotAvailable as error:
        raise RepairConflictError(
            f"{plan.name}: others have held {plan.table} for {_LOCK_MS / 1000:g} s, so nothing was done; apply it later"
        ) from error
    except psycopg.OperationalError as error:
        raise StoreDownError(plan.table, f"{error}".partition("\n")[0]) from error
    except psycopg.Error as error:
        raise RepairConflictError(
            f"{plan.name}: {error}".partition("\n")[0] + "; nothing was done: repair its cause, and compare anew"
        ) from error


@contextmanager
def _in_sqlite(plan: RepairPlan, connection: sqlite3.Connection, dry_run: bool) -> Iterator[Execute]:  # noqa: FBT001 - internal
    if connection.in_transaction:
        raise ConfigurationError(f"{plan.name}: the connection is in a transaction; commit it, or pass another one")

    def execute(sql: str, parameters: tuple[object, ...]) -> int:
        cursor = connection.execute(sql, parameters)
        return len(cursor.fetchall()) if cursor.description else cursor.rowcount

    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield execute
        except BaseException:
            connection.rollback()
            raise
        if dry_run:
            connection.rollback()
        else:
            connection.commit()
    except sqlite3.OperationalError as error:
        connection.rollback()
        raise StoreDownError(plan.table, f"{error}") from error
    except sqlite3.Error as error:
        raise RepairConflictError(f"{plan.name}: {error}; nothing was done: repair its cause, compare anew") from error


_TRANSACTIONS: dict[str, Callable[..., AbstractContextManager[Execute]]] = {
    "postgres": _in_postgres,
    "sqlite": _in_sqlite,
}


def repair_plan(report: Report, table: str, *, dialect: Dialect = "postgres") -> RepairPlan:
    """How `table` ("schema.table") becomes what should be, as far as the report's lists go.

    Only the columns of the comparison are written; an inserted row has its defaults in the others.
    """
    if dialect not in ("postgres", "sqlite"):
        raise ConfigurationError(f"repair_plan(dialect={dialect!r}): has to be postgres or sqlite")
    name = ".".join(quoted(part) for part in table.split("."))
    maker = _Maker(name, dialect, report.columns)
    ordered = (*report.surplus, *report.differing, *report.missing)
    return RepairPlan(report.name, name, dialect, report.columns, tuple(maker.statement(one) for one in ordered))


@dataclass(frozen=True, slots=True)
class _Maker:
    table: str
    dialect: Dialect
    columns: Columns

    def statement(self, difference: Difference) -> Statement:
        names = [self._name(name) for name in self.columns.compared]
        expected, actual = difference.expected, difference.actual
        if actual is None:
            assert expected is not None
            marks, keys = ", ".join(self._mark for _ in names), [self._name(name) for name in self.columns.key]
            sql = f"INSERT INTO {self.table} ({', '.join(names)}) VALUES ({marks})"
            unless = f"SELECT 1 FROM {self.table} WHERE {self._equal(keys)} LIMIT 1"
            return Statement(sql, self._values(expected), difference, unless, self._values(difference.key))
        row_id = "tableoid, ctid" if self.dialect == "postgres" else "rowid"
        where = f"WHERE ({row_id}) = (SELECT {row_id} FROM {self.table} WHERE {self._equal(names)} LIMIT 1)"
        if expected is None:
            return Statement(f"DELETE FROM {self.table} {where}", self._values(actual), difference)
        changed = difference.columns(self.columns)
        values = dict(zip(self.columns.compared, self._values(expected), strict=True))
        pairs = ", ".join(f"{self._name(name)} = {self._mark}" for name in changed)
        given = (*(values[name] for name in changed), *self._values(actual))
        return Statement(f"UPDATE {self.table} SET {pairs} {where}", given, difference)

    @property
    def _mark(self) -> str:
        return "%s" if self.dialect == "postgres" else "?"

    def _name(self, name: str) -> str:
        return quoted(name).replace("%", "%%") if self.dialect == "postgres" else quoted(name)

    def _equal(self, names: Sequence[str]) -> str:
        sign = "IS NOT DISTINCT FROM" if self.dialect == "postgres" else "IS"
        return " AND ".join(f"{name} {sign} {self._mark}" for name in names)

    def _values(self, row: Row) -> tuple[object, ...]:
        return tuple(
            value if self.dialect == "postgres" else _for_sqlite(value) for value in row[: len(self.columns.compared)]
        )


def _for_sqlite(value: Value) -> object:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return int(value) if isinstance(value, bool) else value
