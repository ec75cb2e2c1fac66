"""What is written is published: all of it, once where nothing fails, in order; and it is gone when its time is over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from premortem.durable.errors import StoreDownError
from premortem.durable.outbox import (
    Message,
    MovedOutboxError,
    Outbox,
    Pace,
    Relay,
    SinkDownError,
    Tries,
    adopt,
    create_tables,
    statements,
    status,
)
from premortem.durable.sessions.postgres_tables import statement
from premortem.errors import ConfigurationError
from premortem.policies.waits import Fixed
from premortem.ports import ManualClock

SOON = Fixed(0.001)
Write = Callable[..., list[int]]
Drain = Callable[..., int]
InOrder = Callable[[Iterable[tuple[str | None, int]]], bool]


def kept(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute("SELECT count(*) FROM premortem.outbox").fetchone()
    connection.rollback()
    assert row is not None
    return int(row[0])


def test_all_is_published_once_in_order_and_then_gone(
    write: Write, drain: Drain, sink: Any, connection: psycopg.Connection[Any]
) -> None:
    written = write(*"abcabcabc") + write(None, None, *"aaa")
    assert drain(sink) == 14
    assert sorted(sink.ids) == written
    for key in "abc":
        of_key = [message.id for message in sink if message.key == key]
        assert of_key == sorted(of_key)
    assert drain(sink) == 0
    assert kept(connection) == 0


def test_a_message_is_as_it_was_written(connection: psycopg.Connection[Any], drain: Drain, sink: Any) -> None:
    with connection.transaction():
        Outbox(connection).add("t", "k", b"\x00\xff", {"trace": "1"})
        Outbox(connection).add("t", None, {"é": [1, None]})
    drain(sink)
    raw, as_json = sorted(sink, key=lambda message: message.id)
    assert (raw.topic, raw.key, raw.payload, raw.headers) == ("t", "k", b"\x00\xff", {"trace": "1"})
    assert (as_json.key, as_json.payload, as_json.headers) == (None, '{"é":[1,null]}'.encode(), None)
    assert raw.created_at.tzinfo == UTC or raw.created_at.utcoffset() == timedelta(0)
    assert raw.message_id != as_json.message_id
    assert raw.message_id.startswith(raw.source)


@pytest.mark.parametrize("batch", [1, 2, 3, 7])
def test_the_size_of_a_batch_changes_nothing(write: Write, drain: Drain, sink: Any, batch: int) -> None:
    written = write(*["a", "b", None] * 7)
    assert drain(sink, pace=Pace(batch=batch)) == 21
    assert sorted(sink.ids) == written


def test_a_batch_has_no_more_bytes_than_it_may(connection: psycopg.Connection[Any], drain: Drain) -> None:
    with connection.transaction():
        Outbox(connection).add_many([("t", "k", b"x" * 1000) for _ in range(10)] + [("t", "k", b"y" * 5000)])
    sizes = []

    async def publish(batch: Sequence[Message]) -> None:
        sizes.append(sum(len(message.payload) for message in batch))

    assert drain(publish, pace=Pace(batch_bytes=3000)) == 11
    assert sorted(sizes) == [1000, 3000, 3000, 3000, 5000]  # one message is always sent


def test_who_commits_late_is_published_late_and_not_lost(url: str, write: Write, drain: Drain, sink: Any) -> None:
    with psycopg.connect(url) as late:
        first = Outbox(late).add("t", "late", "1")
        later = write("a", "b", "c")
        assert drain(sink) == 3
        assert drain(sink) == 0
    more = write("a")
    assert drain(sink) == 2
    assert sorted(sink.ids) == sorted([first, *later, *more])


def test_who_is_numbered_above_all_that_have_ended_is_not_lost(url: str, write: Write, drain: Drain, sink: Any) -> None:
    """A snapshot ends at the last transaction that has ended, and does not list those above it that are at work."""
    first = write("a", "b", "c", "d")
    with psycopg.connect(url) as late:
        second = Outbox(late).add_many([("t", key, "x") for key in "abcd"])
        assert drain(sink) == 4
    assert drain(sink) == 4
    assert sorted(sink.ids) == first + second


def test_what_was_rolled_back_is_not_published(url: str, write: Write, drain: Drain, sink: Any) -> None:
    with psycopg.connect(url) as connection:
        Outbox(connection).add("t", "k", "never")
        connection.rollback()
        with connection.transaction():
            Outbox(connection).add("t", "k", "before the savepoint")
            with connection.transaction(force_rollback=True):
                Outbox(connection).add("t", "k", "rolled back to the savepoint")
    write("k")
    assert drain(sink) == 2
    assert [message.payload for message in sink] == [b'"before the savepoint"', b'"0"']


def test_nothing_is_lost_to_gaps_in_the_sequence(url: str) -> None:
    """Eight writers at once, whose commits come in another order than their ids, while a relay is at work."""
    seen: list[int] = []

    def work(number: int) -> list[int]:
        ids = []
        with psycopg.connect(url) as connection:
            for turn in range(100):
                some = [Outbox(connection).add("t", f"{number}", f"{turn}.{step}") for step in range(5)]
                if turn % 10 == 9:
                    connection.rollback()
                else:
                    connection.commit()
                    ids += some
        return ids

    async def publish(batch: Sequence[Message]) -> None:
        seen.extend(message.id for message in batch)

    async def write_while_it_runs() -> list[int]:
        relay = Relay(url, publish, workers=2, poll_s=0.001, pace=Pace(batch=50))
        running = asyncio.create_task(relay.run())
        with ThreadPoolExecutor(8) as pool:
            loop = asyncio.get_running_loop()
            ids = await asyncio.gather(*(loop.run_in_executor(pool, work, number) for number in range(8)))
        relay.stop()
        await running
        await Relay(url, publish).drain()
        return [one for some in ids for one in some]

    written = asyncio.run(write_while_it_runs())
    assert len(written) == 8 * 90 * 5
    assert sorted(seen) == sorted(written)


def test_an_old_transaction_does_not_hold_up_what_is_new(url: str, write: Write, drain: Drain, sink: Any) -> None:
    with psycopg.connect(url) as old, psycopg.connect(url) as busy:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM premortem.outbox")
        busy.execute("CREATE TABLE mine (id int)")  # it has a number, and keeps it
        written = [id_ for _ in range(5) for id_ in write("a", "b") if drain(sink, pace=Pace(batch=3)) >= 0]
        busy.commit()
    assert sorted(sink.ids) == sorted(written)


@pytest.mark.parametrize("text", [statements.WAITING, statements.MOVED])
def test_nobody_walks_over_what_was_deleted(
    url: str, drain: Drain, sink: Any, connection: psycopg.Connection[Any], text: str
) -> None:
    """With vacuum held back, a look into an empty outbox reads as little as ever: it read the whole lane once."""
    with psycopg.connect(url) as old:
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM pg_class")
        for _ in range(3):
            with connection.transaction():
                Outbox(connection).add_many([("t", f"k{number}", "x" * 100) for number in range(3000)])
            drain(sink)
        for setting in ("enable_seqscan", "enable_bitmapscan"):  # as a relay has them
            connection.execute(f"SET {setting} = off")
        asked = statement("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + text, "premortem")
        row = connection.execute(asked).fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300


def test_several_relays_share_the_lanes_and_keep_the_order(url: str, write: Write, in_order: InOrder) -> None:
    seen: list[tuple[str | None, int]] = []
    written = write(*[f"k{number % 50}" for number in range(3000)])

    async def publish(batch: Sequence[Message]) -> None:
        for message in batch:  # others may come in between
            seen.append((message.key, message.id))
            if message.id % 50 == 0:
                await asyncio.sleep(0)

    async def all_at_once() -> int:
        relays = [Relay(url, publish, workers=2, pace=Pace(batch=40, turn_s=0.01)) for _ in range(3)]
        return sum(await asyncio.gather(*(relay.drain() for relay in relays)))

    assert asyncio.run(all_at_once()) == 3000
    assert sorted(id_ for _, id_ in seen) == written
    assert in_order(seen)


def test_run_goes_on_until_it_is_stopped_and_finishes_what_it_has_begun(url: str, write: Write) -> None:
    begun = asyncio.Event()
    seen: list[int] = []

    async def publish(batch: Sequence[Message]) -> None:
        begun.set()
        await asyncio.sleep(0.05)
        seen.extend(message.id for message in batch)

    async def stop_in_the_middle() -> None:
        relay = Relay(url, publish, poll_s=0.01)
        running = asyncio.create_task(relay.run())
        await asyncio.to_thread(write, "a", "b")
        await begun.wait()
        relay.stop()
        await running

    asyncio.run(stop_in_the_middle())
    assert seen
    assert len(seen) == len(set(seen))
    before = list(seen)
    asyncio.run(Relay(url, publish).drain())
    assert sorted(seen) == sorted(set(before) | set(seen))
    assert len(seen) == 2  # what was with the broker has been saved: nothing comes twice


def test_a_slow_broker_slows_the_relay_and_does_not_fill_its_memory(
    connection: psycopg.Connection[Any], url: str
) -> None:
    with connection.transaction():
        Outbox(connection).add_many([("t", "k", "x") for _ in range(100)])
    ahead = []
    seen = 0

    async def publish(batch: Sequence[Message]) -> None:
        nonlocal seen
        assert len(batch) <= 10
        ahead.append(batch[-1].id - seen)
        await asyncio.sleep(0.002)
        seen = batch[-1].id

    assert asyncio.run(Relay(url, publish, pace=Pace(batch=10)).drain()) == 100
    assert max(ahead) <= 10  # one batch at a time


def test_a_broker_that_is_down_is_tried_again_and_nothing_is_given_up(write: Write, drain: Drain, sink: Any) -> None:
    write("a", "b")
    failures = iter([ConnectionRefusedError("no"), TimeoutError("slow"), SinkDownError("still no")])

    async def publish(batch: Sequence[Message]) -> None:
        for failure in failures:
            raise failure
        await sink(batch)

    assert drain(publish, tries=Tries(wait=SOON)) == 2
    assert len(sink) == 2


def test_drain_gives_up_on_a_dead_broker_and_loses_nothing(write: Write, drain: Drain, sink: Any) -> None:
    write("a", "b")

    async def dead(_: Sequence[Message]) -> None:
        raise ConnectionRefusedError("no")

    with pytest.raises(SinkDownError, match="down 3 times in a row"):
        drain(dead, tries=Tries(wait=SOON, down_attempts=3))
    assert drain(sink) == 2


def test_a_publisher_that_hangs_is_a_broker_that_is_down(write: Write, drain: Drain, sink: Any) -> None:
    write("a")

    async def hangs(_: Sequence[Message]) -> None:
        await asyncio.sleep(3600)

    with pytest.raises(SinkDownError, match="2 times"):
        drain(hangs, tries=Tries(wait=SOON, down_attempts=2, publish_s=0.05))
    assert drain(sink) == 1


def test_stop_ends_the_wait_for_a_dead_broker(url: str, write: Write) -> None:
    write("a")
    tried = asyncio.Event()

    async def dead(_: Sequence[Message]) -> None:
        tried.set()
        raise ConnectionRefusedError("no")

    async def stop_it() -> None:
        relay = Relay(url, dead, tries=Tries(wait=Fixed(3000.0)))
        running = asyncio.create_task(relay.run())
        await tried.wait()
        relay.stop()
        await asyncio.wait_for(running, 30)

    asyncio.run(stop_it())


def test_what_is_published_is_kept_as_long_as_asked(
    write: Write, drain: Drain, sink: Any, connection: psycopg.Connection[Any]
) -> None:
    clock = ManualClock(datetime(2026, 11, 1, tzinfo=UTC))
    pace = Pace(retention_s=3600)
    for minutes in range(0, 100, 10):
        write("a")
        drain(sink, pace=pace, clock=clock)
        assert kept(connection) <= 1 + 60 // 10 + 2, minutes
        assert kept(connection) >= min(minutes // 10 + 1, 60 // 10), minutes
        clock.advance(600)
    assert len(sink) == 10
    clock.advance(3600)
    write("a")
    drain(sink, pace=pace, clock=clock)
    assert kept(connection) == 1


def test_progress_keeps_one_row_for_each_lane(
    write: Write, drain: Drain, sink: Any, connection: psycopg.Connection[Any]
) -> None:
    for _ in range(5):
        write("a", "b", "c")
        drain(sink, pace=Pace(batch=1))
    row = connection.execute("SELECT count(*) FROM premortem.outbox_progress").fetchone()
    assert row == (2 * 8,)


def test_status_says_how_much_waits_and_for_how_long(
    url: str, write: Write, drain: Drain, sink: Any, connection: psycopg.Connection[Any]
) -> None:
    assert (status(connection).depth, status(connection).oldest_s) == (0, 0.0)
    connection.rollback()
    write(*"aabbc", None)
    with psycopg.connect(url) as late:
        Outbox(late).add("t", "late", "x")
        now = status(connection)
        assert (now.depth, now.parked, len(now.lanes)) == (6, 0, 8)
        assert 0 < now.oldest_s < 60
        assert not any(lane.owned for lane in now.lanes)
        drain(sink)
        connection.rollback()
        assert status(connection).depth == 0
    connection.rollback()
    assert status(connection).depth == 1  # who commits late is waiting, too


def test_status_in_the_middle_of_a_window(write: Write, drain: Drain, connection: psycopg.Connection[Any]) -> None:
    write(*["a"] * 6)
    count = 0

    async def two_then_dead(_: Sequence[Message]) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise ConnectionRefusedError
        now = status(connection)
        connection.rollback()
        assert [lane.owned for lane in now.lanes].count(True) == 1

    with pytest.raises(SinkDownError):
        drain(two_then_dead, pace=Pace(batch=2), tries=Tries(wait=SOON, down_attempts=1))
    assert status(connection).depth == 2


@pytest.mark.usefixtures("url")
def test_a_database_without_tables_or_without_life_is_named(postgres_url: str, drain: Drain, sink: Any) -> None:
    with pytest.raises(ConfigurationError, match="create_tables"):
        drain(sink, to=postgres_url)
    with pytest.raises(StoreDownError, match="outbox's database is down"):
        drain(sink, to="postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(ConfigurationError, match="schema"):
        drain(sink, schema='x"; drop table')


def test_any_schema_and_any_number_of_lanes(url: str, sink: Any) -> None:
    with psycopg.connect(url) as connection:
        create_tables(connection, schema="other", lanes=1)
        create_tables(connection, schema="other", lanes=1)
        Outbox(connection, schema="other").add_many([("t", str(key), "x") for key in range(20)])
        with pytest.raises(ConfigurationError, match="has 1 already"):
            create_tables(connection, schema="other", lanes=2)
    assert asyncio.run(Relay(url, sink, schema="other").drain()) == 20
    assert sink.ids == list(range(1, 21))


def test_an_outbox_from_another_server_is_noticed_and_adopted(
    write: Write, drain: Drain, sink: Any, connection: psycopg.Connection[Any]
) -> None:
    write(*"aaa")
    drain(sink, pace=Pace(retention_s=3600))
    waiting = write(*"aab")
    with connection.transaction():  # as a restore leaves it: numbers that this server has not reached
        connection.execute("UPDATE premortem.outbox SET xid = (xid::text::bigint + 1000000)::text::xid8")
        connection.execute(
            "UPDATE premortem.outbox_progress SET done = format('%s:%s:', number, number)::pg_snapshot "
            "FROM (SELECT id, pg_snapshot_xmax(done)::text::bigint + 1000000 AS number FROM premortem.outbox_progress) "
            "AS p WHERE p.id = outbox_progress.id AND floor > 0"
        )
    with pytest.raises(MovedOutboxError, match="restored from another server"):
        drain(sink)
    assert adopt(connection) >= 1
    connection.commit()
    sink.clear()
    drain(sink)
    assert set(waiting) <= set(sink.ids)


@pytest.mark.parametrize(
    "wrong",
    [{"workers": 0}, {"poll_s": 0}, {"pace": Pace(batch=0)}, {"tries": Tries(attempts=0)}, {"answer_s": "5"}],
)
def test_wrong_settings_are_said_at_once(url: str, wrong: Any, sink: Any) -> None:
    with pytest.raises(ConfigurationError):
        Relay(url, sink, **wrong)
