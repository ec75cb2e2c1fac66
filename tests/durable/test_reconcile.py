"""Every difference is found and none is invented: over any rows, in any order, on any pair of sides."""

from __future__ import annotations

import itertools
import sqlite3
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
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
    Report,
    Side,
    SqliteSide,
    orphans,
)
from premortem.durable.reconciling import drill
from premortem.durable.reconciling.columns import Kind, normal, reread, written
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.experiment.postgres import Database
from premortem.ports import ManualClock

COLUMNS = Columns(
    key={"invoice": "text", "line": "number"}, values={"amount": "number", "note": "text"}, sums=("amount",)
)
Rows = list[tuple[Any, ...]]
keys = st.tuples(st.sampled_from(["A", "B", "a", "ä", "中", "A1"]), st.integers(-3, 12))
amounts = st.sampled_from([Decimal("1.50"), Decimal("1.5"), 0, -7, Decimal("0.001"), None])
rows_of = st.lists(st.tuples(keys, amounts, st.sampled_from(["x", "", None, "1:x", "~"])), max_size=40).map(
    lambda several: [(*key, amount, note) for key, amount, note in several]
)


def compared(expected: Side, actual: Side, columns: Columns = COLUMNS, **settings_: Any) -> Report:
    return Reconciliation("sales", expected, actual, columns, **settings_).run()


def brute(expected: Rows, actual: Rows) -> Counter[tuple[str, Any]]:
    """What differs, by the plainest means: key by key, rows that are on both sides cancelled."""
    found: Counter[tuple[str, Any]] = Counter()
    for key in {row[:2] for row in expected + actual}:
        one, other = (Counter(row for row in rows if row[:2] == key) for rows in (expected, actual))
        lacking, over = (one - other).total(), (other - one).total()
        found[("differing", key)] += min(lacking, over)
        found[("missing", key)] += max(0, lacking - over)
        found[("surplus", key)] += max(0, over - lacking)
    return +found


def listed(report: Report) -> Counter[tuple[str, Any]]:
    return Counter((one.what, one.key) for one in (*report.missing, *report.surplus, *report.differing))


@given(rows_of, rows_of, st.integers(1, 6), st.integers(2, 5), st.booleans())
@settings(max_examples=150, deadline=None)
def test_all_differences_are_found_whatever_the_ranges(
    expected: Rows, changes: Rows, leaf_rows: int, parts: int, mostly: bool
) -> None:
    actual = (expected[::2] if not mostly else expected[1:]) + changes[:3]
    with IterableSide(expected).look(COLUMNS) as one, IterableSide(actual).look(COLUMNS) as other:
        found = drill.tallied(one, other)
        differences = list(drill.drill(one, other, COLUMNS, found, leaf_rows=leaf_rows, parts=parts))
    assert Counter((one.what, one.key) for one in differences) == brute(expected, actual)
    assert found.expected.rows == len(expected)
    assert found.expected.sums == (sum((row[2] for row in expected if row[2] is not None), Decimal(0)),)


# Every kind has one form, in Python and in PostgreSQL

VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    "number": st.integers(-(10**30), 10**30)
    | st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**12), max_value=10**12),
    "float": st.floats(),
    "date": st.dates(),
    "moment": st.datetimes(timezones=st.just(UTC)),
    "flag": st.booleans(),
    "bytes": st.binary(),
}
TYPES = {
    "text": "text",
    "number": "numeric",
    "float": "float8",
    "date": "date",
    "moment": "timestamptz",
    "flag": "boolean",
    "bytes": "bytea",
}
EVERY = Columns(key={"id": "number"}, values={f"c_{kind}": kind for kind in TYPES if kind != "id"})  # type: ignore[misc]


@given(st.sampled_from(list(VALUES)).flatmap(lambda kind: st.tuples(st.just(kind), VALUES[kind])))
def test_a_form_is_read_back(kind_and_value: tuple[Kind, Any]) -> None:
    kind, value = kind_and_value
    form = written(kind, normal(kind, value, "x"))
    assert written(kind, reread(kind, form)) == form


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("number", "1.50", 1.5),
        ("number", Decimal("1E+3"), 1000),
        ("number", 0.1 + 0.2, "0.30000000000000004"),
        ("number", True, 1),
        ("float", -0.0, 0),
        ("moment", "2026-01-01T12:00:00+02:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("moment", "2026-01-01 10:00:00", datetime(2026, 1, 1, 10, tzinfo=UTC)),
        ("date", "2026-01-01", date(2026, 1, 1)),
        ("flag", 0, "f"),
        ("text", 7, "7"),
        ("bytes", memoryview(b"a"), b"a"),
    ],
)
def test_one_value_in_two_stores_is_one_value(kind: Kind, one: object, other: object) -> None:
    assert written(kind, normal(kind, one, "x")) == written(kind, normal(kind, other, "x"))


@pytest.mark.parametrize(
    ("kind", "value"), [("number", "abc"), ("flag", 7), ("date", 1), ("bytes", "a"), ("text", b"a")]
)
def test_what_is_not_of_its_kind_is_said_without_the_value(kind: Kind, value: object) -> None:
    with pytest.raises(ConfigurationError, match=f"that is no {kind}"):
        normal(kind, value, "sales.c")


def loaded(database: Database, types: dict[str, str], rows: Rows, table: str = "sales") -> PostgresSide:
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute(f"DROP TABLE IF EXISTS {table}")
        connection.execute(f"CREATE TABLE {table} ({', '.join(f'{one} {two}' for one, two in types.items())})")
        marks = ", ".join(["%s"] * len(types))
        connection.cursor().executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    return PostgresSide(database.url, f"SELECT * FROM {table}")


@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_postgres_counts_and_hashes_as_python_does(postgres: Database, data: st.DataObject) -> None:
    some = st.tuples(*(VALUES[kind] | st.none() for kind in TYPES))  # type: ignore[index]
    rows = [(number, *values) for number, values in enumerate(data.draw(st.lists(some, min_size=1, max_size=20)))]
    here = IterableSide(rows)
    there = loaded(postgres, {"id": "int", **{f"c_{kind}": type_ for kind, type_ in TYPES.items()}}, rows)
    with here.look(EVERY) as one, there.look(EVERY) as other:
        cuts = [(3,), (9,)]
        assert one.tallies(None, cuts, None) == other.tallies(None, cuts, None)
        forms = [[EVERY.form(row) for row in look.rows((2,), (12,))] for look in (one, other)]
        assert forms[0] == forms[1]
        assert one.cuts(None, None, 4) == other.cuts(None, None, 4)


def test_texts_that_look_like_the_form_itself_are_told_apart(postgres: Database) -> None:
    texts = ["", "NULL", None, "'", "''", "\\", "\\\\", "a'b\\c", "E'a'", "'a''b'", "~", "1:a", "\n"]
    columns = Columns(key={"id": "number"}, values={"one": "text", "two": "text"})
    rows: Rows = [(number, *pair) for number, pair in enumerate(itertools.product(texts, texts))]
    there = loaded(postgres, {"id": "int", "one": "text", "two": "text"}, rows)
    assert compared(IterableSide(rows), there, columns).rows_read == 0
    assert len({columns.form((0, *row[1:])) for row in rows}) == len(rows)


def test_more_columns_than_a_function_takes_arguments(postgres: Database) -> None:
    names = [f"c{number}" for number in range(120)]
    columns = Columns(key={"id": "number"}, values=dict.fromkeys(names, "number"))
    rows: Rows = [(number, *range(120)) for number in range(5)]
    there = loaded(postgres, dict.fromkeys(["id", *names], "int"), rows)
    assert compared(IterableSide(rows), there, columns).rows_read == 0


@pytest.mark.parametrize("type_", ["real", "float8", "int", "bigint", "numeric(12,4)", "text"])
def test_a_number_is_one_whatever_column_it_is_in(postgres: Database, type_: str) -> None:
    rows: Rows = [(number, number if "int" in type_ else number / 8) for number in range(50)]
    columns = Columns(key={"id": "number"}, values={"v": "number"}, sums=("v",))
    there = loaded(postgres, {"id": "bigint", "v": type_}, rows)
    report = compared(IterableSide(rows), there, columns)
    assert (report.agrees, report.rows_read) == (True, 0), report
    assert report.sums["v"] == (sum(Decimal(str(row[1])) for row in rows),) * 2


@given(rows_of, rows_of)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_sides_of_three_kinds_find_the_same(postgres: Database, tmp_path: Path, expected: Rows, actual: Rows) -> None:
    actual = expected[1:] + actual[:2]
    types = {"invoice": "text", "line": "int", "amount": "numeric", "note": "text"}
    path = tmp_path / "a.db"
    path.unlink(missing_ok=True)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sales (invoice TEXT, line INTEGER, amount NUMERIC, note TEXT)")
        stored = [(*row[:2], None if row[2] is None else float(row[2]), row[3]) for row in actual]
        connection.executemany("INSERT INTO sales VALUES (?, ?, ?, ?)", stored)
    connection.close()
    sides: list[Side] = [
        IterableSide([dict(zip(types, row, strict=True)) for row in actual]),
        SqliteSide(path, "SELECT * FROM sales"),
        loaded(postgres, types, actual),
    ]
    for expected_side in (IterableSide(lambda: iter(expected)), loaded(postgres, types, expected, "should")):
        for actual_side in sides:
            report = compared(expected_side, actual_side)
            assert listed(report) == brute(expected, actual), actual_side.name


def test_one_row_among_many_is_found_by_reading_few(postgres: Database) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE should AS SELECT n AS id, n * 1.25 AS amount FROM generate_series(1, 60000) n")
        connection.execute("CREATE TABLE sales AS SELECT * FROM should")
        connection.execute("UPDATE sales SET amount = 0 WHERE id = 31234")
        connection.execute("DELETE FROM sales WHERE id = 17")
        connection.execute("INSERT INTO sales SELECT * FROM should WHERE id = 59999")
    columns = Columns(key={"id": "number"}, values={"amount": "number"}, sums=("amount",))
    report = compared(
        PostgresSide(postgres.url, "SELECT * FROM should"), PostgresSide(postgres.url, "SELECT * FROM sales;"), columns
    )
    assert listed(report) == {("differing", (31234,)): 1, ("missing", (17,)): 1, ("surplus", (59999,)): 1}
    assert report.rows_read < 6000
    assert report.differing[0].columns(columns) == ("amount",)
    assert "1 missing, 1 surplus, 1 differing" in f"{report}"


def test_memory_does_not_grow_with_the_rows() -> None:
    def peak(rows: int) -> int:
        def many() -> Iterator[tuple[Any, ...]]:
            return ((f"{number % 1000:04}", number, 1, "x" * 50) for number in range(rows))

        tracemalloc.start()
        report = compared(IterableSide(many), IterableSide(lambda: itertools.islice(many(), 1, None)))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(report.missing) == 1
        return most

    assert peak(30_000) < 1.5 * peak(3_000) + 500_000


def test_more_than_can_be_listed_is_counted() -> None:
    report = compared(IterableSide([("A", number, 1, "") for number in range(50)]), IterableSide([]), most=10)
    assert (len(report.missing), report.unlisted, report.differences) == (10, 40, 50)
    assert "40 more unlisted" in f"{report}"


def test_both_sides_of_a_database_are_seen_at_one_moment(postgres: Database) -> None:
    types = {"id": "int", "amount": "int"}
    left = loaded(postgres, types, [(number, 10) for number in range(20)], "left_side")
    right = loaded(postgres, types, [(number, 10) for number in range(20)], "right_side")
    stop = threading.Event()

    def change() -> None:
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for number in itertools.count():
                if stop.is_set():
                    return
                with connection.transaction():
                    connection.execute("UPDATE left_side SET amount = %s WHERE id = %s", (number, number % 20))
                    connection.execute("UPDATE right_side SET amount = %s WHERE id = %s", (number, number % 20))

    writer = threading.Thread(target=change)
    writer.start()
    try:
        columns = Columns(key={"id": "number"}, values={"amount": "number"})
        reports = [compared(left, right, columns) for _ in range(30)]
    finally:
        stop.set()
        writer.join()
    assert [f"{report}" for report in reports if not report.agrees] == []


def test_what_arrives_within_the_grace_was_in_flight(heard: list[Event]) -> None:
    arrived = [("A", 1, 1, "")]
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        arrived.append(("A", 2, 1, ""))

    should = [("A", number, 1, "") for number in (1, 2, 3)]
    report = compared(IterableSide(should), IterableSide(lambda: list(arrived)), grace_s=30, wait=wait)
    assert ([one.key for one in report.missing], report.in_flight, waited) == ([("A", 3)], 1, [30])
    (told,) = [event for event in heard if event.name == "reconcile.differs"]
    assert (told.get("missing"), told.get("in_flight")) == (1, 1)


def test_a_row_that_was_changed_within_the_grace_is_not_judged() -> None:
    clock = ManualClock()
    columns = Columns(key={"id": "number"}, values={"amount": "number"}, changed="changed_at")
    old, young = clock.now() - timedelta(seconds=100), clock.now() + timedelta(seconds=25)
    should = [(1, 1, old), (2, 1, young), (3, 1, old)]
    be = [(1, 2, old), (2, 2, old), (3, 1, young)]
    report = compared(
        IterableSide(should), IterableSide(be), columns, grace_s=30, wait=clock.advance, clock=clock
    )  # when a row was changed is no difference
    assert ([one.key for one in report.differing], report.in_flight) == ([(1,)], 1)


def test_rows_without_a_parent_are_orphans(heard: list[Event]) -> None:
    found = orphans(
        "lines",
        IterableSide([("A",), ("B",), ("B",), ("C",), ("D",)]),
        IterableSide([("C",), ("A",), ("Z",), ("A",)]),
        {"invoice": "text"},
        most=1,
    )
    assert (found.keys, found.parents_missing, found.rows) == ((("B",),), 2, 3)
    assert [(event.name, event.get("rows")) for event in heard] == [("reconcile.orphans", 3)]


def test_a_side_that_is_down_is_an_error_without_its_password(heard: list[Event]) -> None:
    side = PostgresSide("postgresql://u:hunter2@127.0.0.1:1/x", "SELECT 1", name="shop")
    with pytest.raises(StoreDownError, match="shop is down") as down:
        compared(IterableSide([]), side)
    assert "hunter2" not in f"{down.value}{side!r}"
    assert heard[-1].name == "reconcile.failed"


def test_a_periodic_comparison_outlives_a_side_that_is_down(tmp_path: Path, heard: list[Event]) -> None:
    path, stop, reports = tmp_path / "a.db", threading.Event(), list[Report]()

    class Stop(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            assert timeout == 60
            if reports:
                self.set()
                return True
            with sqlite3.connect(path) as connection:
                connection.execute("CREATE TABLE sales (invoice, line, amount, note)")
            connection.close()
            return False

    stop = Stop()
    sales = Reconciliation("sales", IterableSide([]), SqliteSide(path, "SELECT * FROM sales"), COLUMNS)
    sales.run_every(60, stop, then=reports.append)
    assert [event.name for event in heard] == ["reconcile.failed", "reconcile.agreed"]


def refusals(database: Database, tmp_path: Path) -> dict[str, Callable[[], object]]:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id TEXT, v)")
        connection.executemany("INSERT INTO t VALUES (?, 1)", [("9",), ("10",)])
    connection.close()
    columns = Columns(key={"id": "number"}, values={"v": "number"})
    url = database.url
    nothing = IterableSide([])
    return {
        "mend the query": lambda: compared(PostgresSide(url, "SELECT 1 AS id"), nothing, columns),
        "syntax error": lambda: compared(PostgresSide(url, "SELEC 1"), nothing, columns),
        "no such column": lambda: compared(SqliteSide(path, "SELECT id FROM t"), nothing, columns),
        "rows have no key": lambda: compared(PostgresSide(url, "SELECT NULL::int AS id, 1 AS v"), nothing, columns),
        "so it has no key": lambda: compared(IterableSide([(None, 1)]), nothing, columns),
        "do not come in the order": lambda: compared(SqliteSide(path, "SELECT * FROM t"), nothing, columns),
        "an iterator can be read once": lambda: IterableSide(iter([])),  # type: ignore[arg-type]
        "tells no row from another": lambda: compared(IterableSide([(1, 1)] * 1001), nothing, columns),
        "has 1 values": lambda: compared(IterableSide([(1,)]), nothing, columns),
        "a row has no 'v'": lambda: compared(IterableSide([{"id": 1}]), nothing, columns),
        "Columns.key is empty": lambda: Columns(key={}),
        "no order that all stores share": lambda: Columns(key={"id": "float"}),
        "choose one of": lambda: Columns(key={"id": "serial"}),  # type: ignore[dict-item]
        "grace_s": lambda: compared(nothing, nothing, columns, grace_s=-1),
    }


def test_what_is_told_wrongly_is_refused_with_a_way_out(postgres: Database, tmp_path: Path) -> None:
    for words, act in refusals(postgres, tmp_path).items():
        with pytest.raises(ConfigurationError, match=words):
            act()


def test_a_connection_in_a_transaction_is_refused_and_one_that_is_idle_shared(postgres: Database) -> None:
    columns = Columns(key={"id": "number"})
    with psycopg.connect(postgres.url) as connection:
        one, other = (PostgresSide(connection, "SELECT 1 AS id, '100%' AS v") for _ in range(2))
        assert compared(one, other, columns).agrees
        connection.execute("SELECT 1")
        with pytest.raises(ConfigurationError, match="in a transaction"):
            compared(one, other, columns)


def test_parameters_reach_the_query(postgres: Database, tmp_path: Path) -> None:
    columns = Columns(key={"id": "number"})
    there = PostgresSide(postgres.url, "SELECT n AS id FROM generate_series(1, %(most)s) n", {"most": 3})
    path = tmp_path / "a.db"
    sqlite3.connect(path).close()
    here = SqliteSide(path, "SELECT column1 AS id FROM (VALUES (1), (2), (3), (9)) WHERE column1 <= :most", {"most": 3})
    assert compared(there, here, columns).agrees
