"""A message takes effect once, however often and by however many it is brought."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest

from premortem.durable import inbox
from premortem.durable.inbox import AsyncInbox, Inbox, InboxBusyError
from premortem.durable.outbox import OutsideTransactionError
from premortem.errors import ConfigurationError
from premortem.faults.sweep.here import sweep_wire
from premortem.ports import ManualClock

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def accounts(connection: psycopg.Connection[Any]) -> Callable[[], int]:
    """A table that a message's effect goes to; its value counts the effects."""
    with connection.transaction():
        connection.execute("CREATE TABLE effects (message text)")

    def count() -> int:
        with connection.transaction():
            row = connection.execute("SELECT count(*) FROM effects").fetchone()
        assert row is not None
        return int(row[0])

    return count


def handle(url: str, message_id: str = "m1", consumer: str = "billing") -> bool:
    with psycopg.connect(url) as connection:
        new = Inbox(connection, consumer).once(message_id)
        if new:
            connection.execute("INSERT INTO effects VALUES (%s)", (message_id,))
    return new


def test_once_is_true_once_for_each_consumer(url: str, accounts: Callable[[], int]) -> None:
    assert [handle(url), handle(url), handle(url, "m2"), handle(url, consumer="mail"), handle(url)] == [
        True, False, True, True, False,
    ]  # fmt: skip
    assert accounts() == 3


def test_what_is_rolled_back_was_not_taken(connection: psycopg.Connection[Any]) -> None:
    assert Inbox(connection).once("m")
    connection.rollback()
    assert Inbox(connection).once("m")
    with connection.transaction(force_rollback=True):
        assert Inbox(connection).once("n")
    assert Inbox(connection).once("n")


def test_of_many_at_the_same_time_one_does_the_work(url: str, accounts: Callable[[], int]) -> None:
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda number: handle(url, f"m{number % 10}"), range(80)))
    assert sum(told) == 10
    assert accounts() == 10


def test_the_second_does_the_work_if_the_first_one_fails(url: str, eventually: Eventually) -> None:
    with psycopg.connect(url) as first, ThreadPoolExecutor(1) as pool, psycopg.connect(url, autocommit=True) as look:
        assert Inbox(first).once("m")
        started = threading.Event()

        def second() -> bool:
            with psycopg.connect(url) as connection:
                started.set()
                return Inbox(connection, wait_s=30).once("m")

        waits = pool.submit(second)
        started.wait()
        eventually(
            lambda: (
                look.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'transactionid'").fetchone()
                == (1,)
            )
        )
        first.rollback()
        assert waits.result() is True


def test_the_wait_is_bounded_and_the_caller_s_own_bound_is_as_it_was(url: str) -> None:
    with psycopg.connect(url) as first, psycopg.connect(url) as second:
        assert Inbox(first).once("m")
        second.execute("SET lock_timeout = '7s'")
        with pytest.raises(InboxBusyError, match="at work on it"), second.transaction():
            Inbox(second, wait_s=0.05).once("m")
        assert second.execute("SHOW lock_timeout").fetchone() == ("7s",)
        assert Inbox(second, wait_s=0.05).once("n")
        assert second.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_old_ids_are_forgotten_in_batches(connection: psycopg.Connection[Any]) -> None:
    clock = ManualClock()
    box = Inbox(connection, clock=clock)
    for number in range(25):
        box.once(f"m{number}")
        clock.advance(60)
    assert box.forget(timedelta(minutes=10).total_seconds(), limit=4) == 15
    assert box.once("m0")
    assert not box.once("m24")
    assert box.forget(3600) == 0


def test_outside_a_transaction_it_refuses(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(OutsideTransactionError, match="without its work"):
            Inbox(connection).once("m")
        with connection.transaction():
            assert Inbox(connection).once("m")


@pytest.mark.parametrize("wrong", ["", "x" * 1001, "a\0b", 7])
def test_what_is_no_id_is_refused(connection: psycopg.Connection[Any], wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="message_id"):
        Inbox(connection).once(wrong)


def test_asynchronous_connections_of_both_drivers(url: str) -> None:
    async def by_psycopg() -> list[bool]:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            return [await AsyncInbox(connection).once("m") for _ in range(2)]

    async def by_asyncpg() -> list[bool]:
        connection = await asyncpg.connect(url)
        try:
            async with connection.transaction():
                return [await AsyncInbox(connection).once(one) for one in ("m", "n", "n")]
        finally:
            await connection.close()

    async def outside() -> None:
        connection = await asyncpg.connect(url)
        try:
            await AsyncInbox(connection).once("m")
        finally:
            await connection.close()

    assert asyncio.run(by_psycopg()) == [True, False]
    assert asyncio.run(by_asyncpg()) == [False, True, False]
    with pytest.raises(OutsideTransactionError):
        asyncio.run(outside())


def test_a_consumer_that_is_cut_off_at_any_message_of_the_protocol_takes_effect_once(
    url: str, accounts: Callable[[], int], connection: psycopg.Connection[Any]
) -> None:
    def begin() -> None:
        with connection.transaction():
            connection.execute("TRUNCATE effects")
            connection.execute("TRUNCATE premortem.inbox")

    struck = 0
    for _ in sweep_wire(handle, url, before=begin):
        struck += 1
        handle(url)  # the broker has no acknowledgement, and brings it again
        assert accounts() == 1
    assert struck > 20


def test_any_schema(url: str) -> None:
    with psycopg.connect(url) as connection:
        inbox.create_tables(connection, schema="other")
        inbox.create_tables(connection, schema="other")
        assert Inbox(connection, schema="other").once("m")
        with pytest.raises(ConfigurationError, match="schema"):
            Inbox(connection, schema="x y")
