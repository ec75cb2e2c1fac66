"""A repair makes one side into the other, touches nothing that has changed since, and never stays half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.durable.errors import StoreDownError
from premortem.durable.reconcile import (
    Columns,
    IterableSide,
    PostgresSide,
    Reconciliation,
    RepairConflictError,
    Repaired,
    Report,
    SqliteSide,
    repair_plan,
)
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.experiment.postgres import Database
from premortem.faults.sweep.here import sweep_wire

COLUMNS = Columns(key={"id": "number"}, values={"amount": "number", "note": "text"})
Rows = list[tuple[Any, ...]]
some_rows = st.dictionaries(
    st.integers(0, 12),
    st.tuples(st.sampled_from([0, 1, Decimal("2.5"), None]), st.sampled_from(["x", "%s", "'", None])),
).map(lambda found: [(number, *values) for number, values in found.items()])
SHOULD: Rows = [(1, 10, "a"), (2, 20, "b"), (3, 30, "c")]
BE: Rows = [(1, 10, "a"), (2, 99, "b"), (4, 40, "d")]


class InPostgres:
    dialect = "postgres"

    def __init__(self, database: Database) -> None:
        self.url = database.url
        self.connection = psycopg.connect(self.url, autocommit=True)
        self.side = PostgresSide(self.url, 'SELECT id, amount, note FROM "ledger"."Sales"')
        self.connection.execute("CREATE SCHEMA IF NOT EXISTS ledger")

    def set(self, rows: Rows) -> None:
        self.connection.execute('DROP TABLE IF EXISTS ledger."Sales"')
        self.connection.execute('CREATE TABLE ledger."Sales" (id int, amount numeric, note text, more int DEFAULT 7)')
        self.connection.cursor().executemany('INSERT INTO ledger."Sales" VALUES (%s, %s, %s)', rows)

    def close(self) -> None:
        self.connection.close()


class InSqlite:
    dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.side = SqliteSide(path, 'SELECT id, amount, note FROM "Sales"')

    def set(self, rows: Rows) -> None:
        self.connection.execute('DROP TABLE IF EXISTS "Sales"')
        self.connection.execute('CREATE TABLE "Sales" (id INTEGER, amount NUMERIC, note TEXT, more DEFAULT 7)')
        stored = [(row[0], None if row[1] is None else float(row[1]), row[2]) for row in rows]
        self.connection.executemany('INSERT INTO "Sales" VALUES (?, ?, ?, 7)', stored)

    def close(self) -> None:
        self.connection.close()


@pytest.fixture(params=["postgres", "sqlite"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    is_postgres = request.param == "postgres"
    place = InPostgres(request.getfixturevalue("postgres")) if is_postgres else InSqlite(tmp_path / "a.db")
    yield place
    place.close()


def table(target: Any) -> str:
    return "ledger.Sales" if target.dialect == "postgres" else "Sales"


def compared(target: Any, should: Rows) -> Report:
    return Reconciliation("sales", IterableSide(should), target.side, COLUMNS).run()


@given(should=some_rows, be=some_rows)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_after_a_repair_both_sides_agree_and_a_second_one_does_nothing(target: Any, should: Rows, be: Rows) -> None:
    target.set(be)
    before = compared(target, should)
    plan = repair_plan(before, table(target), dialect=target.dialect)
    assert plan.apply(target.connection) == Repaired(before.differences, 0, dry_run=True)
    assert compared(target, should).differences == before.differences
    done = plan.apply(target.connection, again=(IterableSide(should), target.side), dry_run=False)
    assert done == Repaired(before.differences, 0, dry_run=False)
    assert compared(target, should).agrees
    for again in (None, (IterableSide(should), target.side)):
        second = plan.apply(target.connection, again=again, dry_run=False)
        assert second == Repaired(0, before.differences, dry_run=False)
        assert compared(target, should).agrees


def test_the_plan_is_data(target: Any) -> None:
    target.set(BE)
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    assert [statement.sql.split()[0] for statement in plan.statements] == ["DELETE", "UPDATE", "INSERT"]
    assert plan.statements[1].parameters == (20, 2, 99, "b")


def test_a_row_that_is_there_twice_is_removed_once(target: Any) -> None:
    target.set([SHOULD[0], *SHOULD])
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    assert plan.apply(target.connection, dry_run=False).applied == 1
    assert compared(target, SHOULD).agrees


def test_what_has_changed_since_the_report_is_left_alone(target: Any, heard: list[Event]) -> None:
    target.set(BE)
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    changed = [(1, 10, "a"), (2, 77, "b"), (3, 31, "by hand"), (4, 41, "d")]
    target.set(changed)
    assert plan.apply(target.connection, dry_run=False) == Repaired(0, 3, dry_run=False)
    assert compared(target, changed).agrees
    assert [(event.name, event.get("stale")) for event in heard][-2] == ("reconcile.repaired", 3)


def test_where_the_other_side_has_changed_its_mind_the_row_is_left_alone(target: Any) -> None:
    target.set(BE)
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    now = [(1, 10, "a"), (2, 21, "b"), (3, 30, "c"), (4, 40, "d")]
    again = (IterableSide(now), target.side)
    assert plan.apply(target.connection, again=again, dry_run=False) == Repaired(1, 2, dry_run=False)
    assert [one.key for one in compared(target, now).differing] == [(2,)]


def test_what_the_database_refuses_leaves_nothing_done(target: Any) -> None:
    target.set(BE)
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    name = 'ledger."Sales"' if target.dialect == "postgres" else '"Sales"'
    target.connection.execute(f"CREATE UNIQUE INDEX one_note ON {name} (amount)")
    target.connection.execute(f"INSERT INTO {name} (id, amount) VALUES (9, 30)")
    before = compared(target, SHOULD)
    for dry_run in (True, False):
        with pytest.raises(RepairConflictError, match="nothing was done"):
            plan.apply(target.connection, dry_run=dry_run)
    assert compared(target, SHOULD).differences == before.differences


def test_a_connection_in_a_transaction_is_refused(target: Any) -> None:
    target.set(BE)
    plan = repair_plan(compared(target, SHOULD), table(target), dialect=target.dialect)
    target.connection.execute("BEGIN")
    with pytest.raises(ConfigurationError, match="in a transaction"):
        plan.apply(target.connection)
    target.connection.execute("ROLLBACK")


def test_cut_at_every_message_it_is_done_or_not_and_a_second_try_ends_it(postgres: Database) -> None:
    target = InPostgres(postgres)
    target.set(BE)
    first = compared(target, SHOULD)
    plan = repair_plan(first, "ledger.Sales")

    def repair(url: str) -> None:
        with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
            plan.apply(connection, dry_run=False)

    ends = set()
    for struck in sweep_wire(repair, postgres.url, before=lambda: target.set(BE)):
        left = compared(target, SHOULD).differences
        assert left in (0, 3), struck
        ends.add(left)
        if struck.error is not None:
            assert isinstance(struck.error, StoreDownError | psycopg.OperationalError), struck
        repair(postgres.url)
        assert compared(target, SHOULD).agrees, struck
    assert ends == {0, 3}
    target.close()


def test_every_kind_can_be_repaired(postgres: Database) -> None:
    columns = Columns(
        key={"day": "date", "id": "text"},
        values={"at": "moment", "paid": "flag", "data": "bytes", "weight": "float", "amount": "number"},
    )
    rows: Rows = [
        (
            date(2026, 1, 2),
            "b8b5a8a6-3f0c-4f0b-9a53-1f44f0c4b9a1",
            datetime(2026, 1, 1, tzinfo=UTC),
            True,
            b"\0",
            0.1,
            1,
        )
    ]
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE t (day date, id uuid, at timestamp, paid bool, data bytea, weight float8, amount bigint) "
            "PARTITION BY RANGE (day)"
        )
        connection.execute("CREATE TABLE t1 PARTITION OF t DEFAULT")
        side = PostgresSide(postgres.url, "SELECT * FROM t")
        altered: Rows = [(*rows[0][:2], datetime(2026, 1, 2, tzinfo=UTC), False, b"", 0.5, 2)]
        steps: list[tuple[str, Rows]] = [("INSERT", rows), ("UPDATE", altered), ("DELETE", [])]
        for word, should in steps:
            plan = repair_plan(Reconciliation("t", IterableSide(should), side, columns).run(), "t")
            assert [one.sql.split()[0] for one in plan.statements] == [word]
            assert plan.apply(connection, dry_run=False).applied == 1
            assert Reconciliation("t", IterableSide(should), side, columns).run().agrees
