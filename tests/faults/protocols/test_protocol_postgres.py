"""Faults at PostgreSQL's messages, through a real proxy, on a real server, seen by a real driver."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from premortem.faults.proxy import FaultProxy

Rows = Callable[[], list[int]]
LONG_S = 10.0


def pay(url: str, value: int = 7) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO payments VALUES (%s)", (value,))


def pay_and_read(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO payments VALUES (1) RETURNING id").fetchone()


def insert(connection: psycopg.Connection, *values: int) -> None:
    for value in values:
        connection.execute("INSERT INTO payments VALUES (%s)", (value,))


def insert_and_commit_in_a_pipeline(connection: psycopg.Connection, *values: int) -> None:
    with connection.pipeline():
        insert(connection, *values)
        connection.commit()


def status(connection: psycopg.Connection) -> psycopg.pq.TransactionStatus:
    return connection.info.transaction_status


def copy_in(url: str, *values: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
        copy_with(cursor, *values)


def copy_with(cursor: psycopg.Cursor, *values: int) -> None:
    with cursor.copy("COPY payments FROM STDIN") as copy:
        for value in values:
            copy.write_row((value,))


def eventually(rows: Rows, expected: list[int]) -> bool:
    until = time.monotonic() + LONG_S
    while rows() != expected and time.monotonic() < until:
        time.sleep(0.005)
    return rows() == expected


def test_the_commit_is_durable_and_the_client_hears_an_error(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with postgres_proxy.at("postgres:COMMIT#1:after") as armed, pytest.raises(psycopg.OperationalError):
        pay(proxied_url)
    assert payments() == [7]
    assert [strike.recipe for strike in armed.strikes] == ["postgres:COMMIT#1:after"]


@pytest.mark.parametrize("point", ["COMMIT", "INSERT", "INSERT payments", "BEGIN", "Sync", "Bind"])
def test_before_it_the_server_never_sees_it(
    point: str, postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with postgres_proxy.at(f"postgres:{point}#1:before") as armed, pytest.raises(psycopg.OperationalError):
        pay(proxied_url)
    assert payments() == []
    assert armed.hit


@pytest.mark.parametrize("statement", ["INSERT INTO payments VALUES (7)", "INSERT INTO payments VALUES (%s)"])
@pytest.mark.parametrize("when", ["sent", "after"])
def test_outside_a_transaction_what_was_sent_is_durable(
    when: str, statement: str, postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    arguments = (7,) if "%s" in statement else None
    with (
        psycopg.connect(proxied_url, autocommit=True) as connection,
        postgres_proxy.at(f"postgres:INSERT payments#1:{when}") as armed,
        pytest.raises(psycopg.OperationalError),
    ):
        connection.execute(statement, arguments)
    assert payments() == [7] if when == "after" else eventually(payments, [7])
    assert armed.hit


def test_a_commit_that_was_sent_comes_true_although_nobody_waits(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with postgres_proxy.at("postgres:COMMIT#1:sent"), pytest.raises(psycopg.OperationalError):
        pay(proxied_url)
    assert eventually(payments, [7])


@pytest.mark.parametrize(
    ("code", "kind"),
    [("40001", psycopg.errors.SerializationFailure), ("40P01", psycopg.errors.DeadlockDetected)],
)
@pytest.mark.parametrize("statement", ["INSERT INTO payments VALUES (1)", "INSERT INTO payments VALUES (%s)"])
def test_an_error_leaves_a_usable_connection_and_a_failed_transaction(  # noqa: PLR0913, PLR0917 - four fixtures, two parameters
    code: str,
    kind: type[psycopg.Error],
    statement: str,
    postgres_proxy: FaultProxy,
    proxied_url: str,
    payments: Rows,
) -> None:
    arguments = (1,) if "%s" in statement else None
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at(f"postgres:INSERT#2=error {code}") as armed:
        connection.execute(statement, arguments)
        with pytest.raises(kind, match="premortem made this up: postgres:INSERT#2"):
            connection.execute(statement, arguments)
        assert status(connection) == psycopg.pq.TransactionStatus.INERROR
        answer = connection.execute("COMMIT").statusmessage
        assert answer == "ROLLBACK"
        assert payments() == []
        connection.execute(statement, arguments)
        connection.commit()
    assert payments() == [1]
    assert len(armed.strikes) == 1


def test_a_savepoint_saves_what_came_before_an_error(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at("postgres:INSERT#2=error 40P01"):
        connection.execute("INSERT INTO payments VALUES (1)")
        with pytest.raises(psycopg.errors.DeadlockDetected), connection.transaction():
            connection.execute("INSERT INTO payments VALUES (2)")
        connection.execute("INSERT INTO payments VALUES (3)")
    assert payments() == [1, 3]


def test_a_commit_that_fails_leaves_no_transaction(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at("postgres:COMMIT#1=error 40001"):
        connection.execute("INSERT INTO payments VALUES (1)")
        with pytest.raises(psycopg.errors.SerializationFailure):
            connection.commit()
        assert status(connection) == psycopg.pq.TransactionStatus.IDLE
        assert payments() == []
        connection.execute("INSERT INTO payments VALUES (2)")
    assert payments() == [2]


def test_in_a_pipeline_a_commit_that_fails_leaves_no_transaction(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at("postgres:COMMIT#1+=error 40001") as armed:
        for _ in range(2):
            with pytest.raises(psycopg.errors.SerializationFailure):
                insert_and_commit_in_a_pipeline(connection, 1)
            assert status(connection) == psycopg.pq.TransactionStatus.IDLE
        assert len(armed.strikes) == 2
        armed.disarm()
        connection.execute("INSERT INTO payments VALUES (2)")
    assert payments() == [2]


def test_an_administrator_ends_the_session(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with (
        psycopg.connect(proxied_url) as connection,
        postgres_proxy.at("postgres:INSERT#1=error 57P01"),
        pytest.raises(psycopg.errors.AdminShutdown),
    ):
        connection.execute("INSERT INTO payments VALUES (1)")
    assert connection.closed
    assert payments() == []


def test_the_session_ends_after_the_commit(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with (
        postgres_proxy.at("postgres:COMMIT#1:after=error 57P01"),
        pytest.raises(psycopg.errors.AdminShutdown),
    ):
        pay(proxied_url)
    assert payments() == [7]


def test_too_many_clients_at_first_and_then_room(postgres_proxy: FaultProxy, proxied_url: str) -> None:
    with postgres_proxy.at("postgres:StartupMessage#1=error 53300") as armed:
        with pytest.raises(psycopg.OperationalError, match="too many clients already"):
            psycopg.connect(proxied_url)
        psycopg.connect(proxied_url).close()
    assert len(armed.strikes) == 1


def test_an_error_told_after_the_fact_fails_the_transaction_of_the_server_too(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at("postgres:INSERT#1:after=error 57014"):
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("INSERT INTO payments VALUES (1)")
        assert status(connection) == psycopg.pq.TransactionStatus.INERROR
        assert connection.execute("COMMIT").statusmessage == "ROLLBACK"
        assert payments() == []
        connection.execute("INSERT INTO payments VALUES (2)")
    assert payments() == [2]


def test_an_unknown_outcome_is_a_commit_whose_error_is_no_error(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url) as connection, postgres_proxy.at("postgres:COMMIT#1:after=error 40003"):
        connection.execute("INSERT INTO payments VALUES (1)")
        with pytest.raises(psycopg.errors.StatementCompletionUnknown):
            connection.commit()
        assert payments() == [1]
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_prepared_statements_are_struck_by_name(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with (
        psycopg.connect(proxied_url, autocommit=True) as connection,
        postgres_proxy.at("postgres:INSERT#3=error 40001") as armed,
    ):
        for number in range(1, 6):
            with suppress(psycopg.errors.SerializationFailure):
                connection.execute("INSERT INTO payments VALUES (%s)", (number,), prepare=True)
    assert payments() == [1, 2, 4, 5]
    assert len(armed.strikes) == 1


def test_in_a_pipeline_what_came_before_in_the_same_round_is_lost_with_it(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    def pipelined(connection: psycopg.Connection) -> None:
        with connection.pipeline() as pipeline:
            insert(connection, 1)
            pipeline.sync()
            insert(connection, 2, 3, 4)

    with psycopg.connect(proxied_url, autocommit=True) as connection:
        with postgres_proxy.at("postgres:INSERT#3=error 40001"), pytest.raises(psycopg.errors.SerializationFailure):
            pipelined(connection)
        insert(connection, 5)
    assert payments() == [1, 5]


def test_in_a_pipeline_the_answer_of_a_round_is_lost(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    def pipelined() -> None:
        with psycopg.connect(proxied_url, autocommit=True) as connection, connection.pipeline():
            insert(connection, 1, 2, 3)

    with postgres_proxy.at("postgres:INSERT#2:after") as armed, pytest.raises(psycopg.OperationalError):
        pipelined()
    assert payments() == [1, 2, 3]
    assert armed.hit


def test_several_statements_in_one_query(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    text = "BEGIN; INSERT INTO payments VALUES (1); INSERT INTO payments VALUES (2); /* ; */ COMMIT -- ;"
    with psycopg.connect(proxied_url, autocommit=True) as connection:
        with postgres_proxy.at("postgres:INSERT#2=error 40001"), pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(text)
        assert status(connection) == psycopg.pq.TransactionStatus.INERROR
        connection.execute("ROLLBACK")
        with postgres_proxy.at("postgres:COMMIT#1=error 40001"), pytest.raises(psycopg.errors.SerializationFailure):
            connection.execute(text)
        assert status(connection) == psycopg.pq.TransactionStatus.IDLE
        assert payments() == []
        with postgres_proxy.at("postgres:COMMIT#1:after"), pytest.raises(psycopg.OperationalError):
            connection.execute(text)
    assert payments() == [1, 2]


@pytest.mark.parametrize(
    "point", ["COPY#1:after", "CopyDone#1:after", "CopyDone#1=error 53100", "CopyData#1", "COPY#1"]
)
def test_copying(point: str, postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with postgres_proxy.at(f"postgres:{point}") as armed, pytest.raises(psycopg.Error) as caught:
        copy_in(proxied_url, 0, 1, 2)
    assert payments() == ([0, 1, 2] if "after" in point else [])
    assert caught.value.sqlstate == ("53100" if "error" in point else None)
    assert armed.hit


def test_after_an_error_in_a_copy_the_connection_goes_on(
    postgres_proxy: FaultProxy, proxied_url: str, payments: Rows
) -> None:
    with psycopg.connect(proxied_url, autocommit=True) as connection, connection.cursor() as cursor:
        with postgres_proxy.at("postgres:CopyData#1=error 53100"), pytest.raises(psycopg.errors.DiskFull):
            copy_with(cursor, 1)
        with postgres_proxy.at("postgres:COPY#2:after") as armed:
            copy_with(cursor, 2)
            assert cursor.execute("SELECT id FROM payments").fetchall() == [(2,)]
            with pytest.raises(psycopg.OperationalError):
                copy_with(cursor, 3)
            assert armed.hit
    assert payments() == [2, 3]


@pytest.mark.parametrize("point", ["CommandComplete#2", "CommandComplete#2:after", "ReadyForQuery#3", "DataRow#1"])
def test_messages_of_the_server(point: str, postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with postgres_proxy.at(f"postgres:{point}=close") as armed, pytest.raises(psycopg.OperationalError):
        pay_and_read(proxied_url)
    assert armed.hit
    assert payments() == []


def test_cut_into_single_bytes_it_is_the_same(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with (
        postgres_proxy.slicer(1),
        postgres_proxy.at("postgres:INSERT#2=error 40001", "postgres:COMMIT#2:after") as armed,
    ):
        pay(proxied_url, 1)
        with pytest.raises(psycopg.errors.SerializationFailure):
            pay(proxied_url, 2)
        with pytest.raises(psycopg.OperationalError):
            pay(proxied_url, 3)
        assert len(armed.strikes) == 2
    assert payments() == [1, 3]


def test_a_delay_is_never_early(postgres_proxy: FaultProxy, proxied_url: str) -> None:
    with psycopg.connect(proxied_url, autocommit=True) as connection:
        for when in ("before", "after"):
            with postgres_proxy.at(f"postgres:SELECT#1:{when}=delay 0.05") as armed:
                began = time.monotonic()
                assert connection.execute("SELECT 1").fetchone() == (1,)
                assert time.monotonic() - began >= 0.05
                assert armed.hit


def test_a_recording_numbers_as_strikes_do(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with postgres_proxy.record("postgres") as recording:
        pay(proxied_url)
    points = [seen.point for seen in recording.seen if seen.direction == "up"]
    assert [point for point in points if point.split(":")[1][:2].isupper()] == [
        "postgres:BEGIN#1",
        "postgres:INSERT#1",
        "postgres:COMMIT#1",
    ]
    for seen in recording.seen:
        with postgres_proxy.at(f"{seen.point}:before") as armed:
            with suppress(psycopg.OperationalError):
                pay(proxied_url)
            until = time.monotonic() + LONG_S
            while not armed.hit and time.monotonic() < until:  # the last words of a session are not waited for
                time.sleep(0.002)
            assert armed.hit, seen
    assert set(payments()) == {7}


def test_two_connections_count_together(postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    with (
        psycopg.connect(proxied_url, autocommit=True) as one,
        psycopg.connect(proxied_url, autocommit=True) as other,
        postgres_proxy.at("postgres:INSERT#2=error 40001"),
    ):
        one.execute("INSERT INTO payments VALUES (1)")
        with pytest.raises(psycopg.errors.SerializationFailure):
            other.execute("INSERT INTO payments VALUES (2)")
    assert payments() == [1]


def test_a_request_to_cancel_passes(postgres_proxy: FaultProxy, proxied_url: str) -> None:
    with psycopg.connect(proxied_url, autocommit=True) as connection, postgres_proxy.record("postgres") as recording:
        timer = threading.Timer(0.05, connection.cancel)
        timer.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
        timer.join()
    assert "postgres:CancelRequest#1" in [seen.point for seen in recording.seen]


@pytest.mark.parametrize("prepared", [False, True])
def test_asyncpg_sees_the_same(prepared: bool, postgres_proxy: FaultProxy, proxied_url: str, payments: Rows) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def pay_in_transaction(connection: Any, value: int) -> None:
        async with connection.transaction():
            if prepared:
                await (await connection.prepare("INSERT INTO payments VALUES ($1)")).fetch(value)
            else:
                await connection.execute("INSERT INTO payments VALUES ($1)", value)

    async def talk() -> None:
        connection = await asyncpg.connect(proxied_url)
        with postgres_proxy.at("postgres:INSERT#1=error 40001"):
            with pytest.raises(asyncpg.SerializationError):
                await pay_in_transaction(connection, 1)
            await pay_in_transaction(connection, 2)
        with postgres_proxy.at("postgres:COMMIT#1=error 40001"), pytest.raises(asyncpg.SerializationError):
            await pay_in_transaction(connection, 3)
        lost = (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
        with postgres_proxy.at("postgres:COMMIT#1:after") as armed, pytest.raises(lost):
            await pay_in_transaction(connection, 4)
        assert armed.hit
        connection.terminate()

    asyncio.run(asyncio.wait_for(talk(), LONG_S))
    assert payments() == [2, 4]
