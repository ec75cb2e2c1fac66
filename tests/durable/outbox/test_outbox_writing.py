"""A message is written with its data or not at all, by any of the drivers; what no relay could publish is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import rows

from premortem.durable.outbox import AsyncOutbox, Outbox, OutsideTransactionError, create_tables
from premortem.durable.outbox.message import written
from premortem.errors import ConfigurationError
from premortem.faults.sweep.here import sweep_wire

Drain = Callable[..., int]


def test_data_and_message_are_there_together_or_not_at_all_wherever_the_connection_is_cut(
    url: str, connection: psycopg.Connection[Any]
) -> None:
    def begin() -> None:
        with connection.transaction():
            connection.execute("CREATE TABLE IF NOT EXISTS stock (sku text)")
            connection.execute("TRUNCATE stock, premortem.outbox")

    def sell(to: str) -> None:
        with psycopg.connect(to) as own:
            own.execute("INSERT INTO stock VALUES ('22423')")
            Outbox(own).add("stock.changed", "22423", {"quantity": 3})

    struck = 0
    for cut in sweep_wire(sell, url, before=begin):
        struck += 1
        with connection.transaction():
            row = connection.execute(
                "SELECT (SELECT count(*) FROM stock), (SELECT count(*) FROM premortem.outbox)"
            ).fetchone()
        assert row in ((0, 0), (1, 1)), cut
    assert struck > 20


def test_the_order_of_many_is_kept_and_any_row_factory_is_fine(url: str, drain: Drain, sink: Any) -> None:
    with psycopg.connect(url, row_factory=rows.dict_row) as connection:
        create_tables(connection)
        ids = Outbox(connection).add_many([("t", "k", number) for number in range(100)])
    assert ids == sorted(ids)
    drain(sink)
    assert [int(message.payload) for message in sink] == list(range(100))


def test_outside_a_transaction_it_refuses(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        with pytest.raises(OutsideTransactionError, match="commits each statement by itself"):
            Outbox(connection).add("t", None, "x")
        with connection.transaction():
            Outbox(connection).add("t", None, "x")


def test_asynchronous_connections_of_both_drivers(url: str, drain: Drain, sink: Any) -> None:
    async def by_psycopg() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await AsyncOutbox(connection, lock_keys=True).add("t", "k", {"by": "psycopg"}, {"h": "1"})

    async def by_asyncpg() -> None:
        connection = await asyncpg.connect(url)
        try:
            with pytest.raises(OutsideTransactionError):
                await AsyncOutbox(connection).add("t", "k", "x")
            async with connection.transaction():
                await AsyncOutbox(connection, lock_keys=True).add("t", "k", {"by": "asyncpg"}, {"h": "1"})
        finally:
            await connection.close()

    asyncio.run(by_psycopg())
    asyncio.run(by_asyncpg())
    drain(sink)
    assert [message.payload for message in sink] == [b'{"by":"psycopg"}', b'{"by":"asyncpg"}']
    assert all(message.headers == {"h": "1"} for message in sink)


def test_locked_keys_make_the_order_of_ids_that_of_commits(url: str) -> None:
    """Without the lock, the second of two transactions can commit first."""
    with psycopg.connect(url) as first, ThreadPoolExecutor(1) as pool:
        Outbox(first, lock_keys=True).add("t", "k", "first")
        entered = threading.Event()

        def second() -> int:
            with psycopg.connect(url) as connection:
                connection.execute("SET lock_timeout = '30s'")
                entered.set()
                return Outbox(connection, lock_keys=True).add("t", "k", "second")

        waits = pool.submit(second)
        entered.wait()
        with psycopg.connect(url) as other:
            Outbox(other, lock_keys=True).add("t", "another", "x")  # it is in nobody's way
        assert not waits.done()
        again = Outbox(first, lock_keys=True).add("t", "k", "still first")
        first.commit()
        assert waits.result() > again


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (("", "k", b""), "topic ''"),
        (("a\0b", "k", b""), "topic"),
        ((7, "k", b""), "topic 7"),
        (("t", 7, b""), "key 7"),
        (("t", "a\0b", b""), "key"),
        (("t", "k", b"x" * 11), "11 bytes.*max_bytes"),
        (("t", "k", object()), "payload: has to be bytes"),
        (("t", "k", float("nan")), "payload: has to be bytes"),
        (("t", "k", "\ud800"), "UTF-8"),
        (("t", "k", b"", {"a": 1}), "headers"),
        (("t", "k", b"", {"a": "\0"}), "NUL"),
    ],
)
def test_what_no_relay_could_publish_is_refused(entry: Any, said: str) -> None:
    topic, key, payload, *headers = entry
    with pytest.raises(ConfigurationError, match=said):
        written(topic, key, payload, headers[0] if headers else None, 10)


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            TEXT.filter(bool),
            st.none() | TEXT,
            st.binary(max_size=50),
            st.none() | st.dictionaries(TEXT, TEXT, max_size=3),
        ),
        max_size=5,
    )
)
def test_whatever_is_written_arrives(url: str, drain: Drain, sink: Any, entries: Any) -> None:
    sink.clear()
    with psycopg.connect(url) as connection:
        ids = Outbox(connection).add_many(entries)
    drain(sink)
    arrived = {message.id: (message.topic, message.key, message.payload, message.headers or None) for message in sink}
    assert arrived == {
        id_: (topic, key, payload, headers or None)
        for id_, (topic, key, payload, headers) in zip(ids, entries, strict=True)
    }
