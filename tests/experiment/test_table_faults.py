"""Faults of tables strike what they say, and put back what they changed and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from premortem.errors import FaultError, MissingRequirementError
from premortem.events import Event, listening
from premortem.experiment.postgres import Database
from premortem.experiment.tables import ASIDE
from premortem.servers import Servers

Faults = Callable[[Database], AbstractContextManager[None]]

EVERY: dict[str, Faults] = {
    "locked": lambda db: db.locked("sales"),
    "table_removed": lambda db: db.table_removed("sales"),
    "column_renamed": lambda db: db.column_renamed("sales", "amount", to="value"),
    "rows_added": lambda db: db.rows_added("sales", (3, 7, None), (4, 9, "x")),
    "rows_removed": lambda db: db.rows_removed("sales", invoice=2),
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with Servers() as servers:
        try:
            yield servers.postgres().admin_url
        except MissingRequirementError as missing:
            pytest.skip(str(missing))


@pytest.fixture
def db(server: str) -> Database:
    made = Database.create(server, f"t_{uuid.uuid4().hex[:12]}")
    made.query("CREATE TABLE sales (invoice int, amount numeric, note text)")
    made.query("INSERT INTO sales VALUES (1, 10.50, 'first'), (2, 20, NULL)")
    return made


def content(db: Database) -> list[tuple[object, ...]]:
    return db.query("SELECT invoice, amount::text, note FROM sales ORDER BY invoice")


def heard(db: Database, fault: Faults) -> list[str]:
    events: list[Event] = []
    with listening(events.append), fault(db):
        pass
    return [event.name for event in events]


@pytest.mark.parametrize("name", EVERY)
def test_a_fault_tells_and_undoes_itself(db: Database, name: str) -> None:
    before = content(db)
    assert heard(db, EVERY[name]) == ["fault.struck", "fault.lifted"]
    assert content(db) == before
    assert db.value("SELECT to_regnamespace(%s) IS NULL", ASIDE)


@pytest.mark.parametrize("name", EVERY)
def test_a_fault_undoes_itself_when_the_block_raises(db: Database, name: str) -> None:
    before = content(db)
    with pytest.raises(ZeroDivisionError), EVERY[name](db):
        raise ZeroDivisionError
    assert content(db) == before


def test_several_faults_of_one_table_are_undone_in_turn(db: Database) -> None:
    before = content(db)
    with (
        db.rows_removed("sales", invoice=1),
        db.rows_removed("sales", note=None),
        db.table_removed("sales"),
        pytest.raises(psycopg.errors.UndefinedTable),
    ):
        db.query("SELECT FROM sales")
    assert content(db) == before
    assert db.value("SELECT to_regnamespace(%s) IS NULL", ASIDE)


def test_a_removed_table_comes_back_in_the_place_of_one_that_was_made_meanwhile(db: Database) -> None:
    with db.table_removed("sales"):
        db.query("CREATE TABLE sales (other int)")
    assert len(content(db)) == 2


def test_a_table_of_another_schema(db: Database) -> None:
    db.query("CREATE SCHEMA bronze")
    db.query("CREATE TABLE bronze.sales AS SELECT 1 AS invoice")
    with db.table_removed("bronze.sales"):
        assert db.value("SELECT to_regclass('bronze.sales') IS NULL")
        assert len(content(db)) == 2
    assert db.value("SELECT count(*) FROM bronze.sales") == 1


def test_rows_that_were_written_over_stay(db: Database) -> None:
    with db.rows_added("sales", (3, 7, None), (4, 9, None)):
        assert len(content(db)) == 4
        db.query("UPDATE sales SET note = 'ours now' WHERE invoice = 4")
    assert content(db)[2:] == [(4, "9", "ours now")]


def test_rows_of_a_partitioned_table_and_of_one_that_numbers_its_rows(db: Database) -> None:
    db.query("CREATE TABLE parts (n int) PARTITION BY LIST (n)")
    db.query("CREATE TABLE ones PARTITION OF parts FOR VALUES IN (1)")
    db.query("CREATE TABLE twos PARTITION OF parts FOR VALUES IN (2)")
    with db.rows_added("parts", (1,), (2,)):
        assert db.value("SELECT count(*) FROM parts") == 2
    assert db.value("SELECT count(*) FROM parts") == 0
    db.query("CREATE TABLE numbered (n int GENERATED ALWAYS AS IDENTITY, word text)")
    db.query("INSERT INTO numbered (word) VALUES ('a'), ('b')")
    with db.rows_removed("numbered", word="a"):
        assert db.query("SELECT n FROM numbered") == [(2,)]
    assert db.query("SELECT n FROM numbered ORDER BY n") == [(1,), (2,)]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda db: db.table_removed("nothing"), "no such table"),
        (lambda db: db.rows_added("sales"), "at least one"),
        (lambda db: db.rows_added("sales", ("one", 2, None)), "PostgreSQL refused"),
        (lambda db: db.rows_removed("sales"), "name a column"),
        (lambda db: db.rows_removed("sales", invoice=7), "nothing was struck"),
        (lambda db: db.column_renamed("sales", "price", to="value"), 'column "price" does not exist'),
    ],
)
def test_a_fault_that_hits_nothing_is_an_error_and_no_strike(db: Database, fault: Faults, said: str) -> None:
    events: list[Event] = []
    with listening(events.append), pytest.raises(FaultError, match=said), fault(db):
        pytest.fail("the block was entered")
    assert events == []
    assert db.value("SELECT to_regnamespace(%s) IS NULL", ASIDE)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.integers(-(2**31), 2**31 - 1),
            st.one_of(st.none(), st.decimals(allow_nan=False, allow_infinity=False, places=3)),
            st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", codec="utf-8"))),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_the_values_are_they_come_and_go(db: Database, rows: list[tuple[object, ...]]) -> None:
    before = content(db)
    with db.rows_added("sales", *rows):
        assert db.value("SELECT count(*) FROM sales") == len(before) + len(rows)
    assert content(db) == before
    with db.rows_removed("sales", note=before[0][2]):
        assert len(content(db)) < len(before)
    assert content(db) == before
