"""A relay that is killed, cut off or failed anywhere loses nothing, and first arrivals of a key stay in order."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable.errors import StoreDownError
from premortem.durable.outbox import Message, Outbox, Pace, Relay, Tries, create_tables, parked, status
from premortem.faults import syscalls
from premortem.faults.proxy import FaultProxy
from premortem.faults.sweep.forks import every_crash
from premortem.faults.sweep.here import sweep_wire
from premortem.policies.waits import Fixed

EVERY_POINT = bool(os.environ.get("PREMORTEM_EVERY_POINT"))
"""Every message, and more effects: minutes. Without it, the messages at which something is decided."""
MOMENTS = ("StartupMessage", "SELECT", "WITH", "CommandComplete", "Terminate")

Write = Callable[..., list[int]]
Drain = Callable[..., int]
InOrder = Callable[[Iterable[tuple[str | None, int]]], bool]
Eventually = Callable[[Callable[[], bool]], None]

PROGRAM = Path(__file__).with_name("relaying.py")


def lines(path: Path) -> list[tuple[str | None, int]]:
    """What the broker has; a line that was being written when its writer died has no end."""
    text = path.read_text() if path.exists() else ""
    pairs = [line.split() for line in text.splitlines()]
    return [(key, int(number)) for key, number in pairs]


@pytest.fixture
def narrow(url: str) -> Callable[..., list[int]]:
    """An outbox with one lane, so that one drain is short; writes messages of these keys into it, and into it alone."""
    with psycopg.connect(url) as connection:
        create_tables(connection, schema="narrow", lanes=1)

    def write(*keys: str) -> list[int]:
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE narrow.outbox")
            return Outbox(connection, schema="narrow").add_many([("t", key, "x") for key in keys])

    return write


def test_cut_at_every_message_of_the_protocol(
    url: str, narrow: Callable[..., list[int]], in_order: InOrder, sink: Any
) -> None:
    written: list[int] = []

    def begin() -> None:
        sink.clear()
        written[:] = narrow(*"aba")

    def drained(to: str) -> None:
        asyncio.run(Relay(to, sink, schema="narrow", pace=Pace(batch=2), answer_s=5.0).drain())

    struck = 0
    for cut in sweep_wire(drained, url, before=begin, only=() if EVERY_POINT else MOMENTS):
        struck += 1
        assert cut.error is None or isinstance(cut.error, StoreDownError), (cut, cut.error)
        drained(url)
        assert sorted(set(sink.ids)) == written, cut
        assert in_order((message.key, message.id) for message in sink), cut
        with psycopg.connect(url) as connection:
            assert status(connection, schema="narrow").depth == 0
    assert struck > 50


@pytest.mark.parametrize("effect", ["kill", "sever", "ECONNRESET"] if EVERY_POINT else ["kill"])
@pytest.mark.skipif(bool(syscalls.why_not()), reason=syscalls.why_not())
def test_failed_at_every_system_call_of_its_sockets(
    url: str, narrow: Callable[..., list[int]], in_order: InOrder, tmp_path: Path, effect: str
) -> None:
    path = tmp_path / "broker"
    written = narrow(*"aba")
    struck = 0
    for crash in every_crash(relay_to_file, url, path, folder=tmp_path, effects=(effect,), watch=("socket",)):
        struck += 1
        relay_to_file(url, path)
        assert sorted({number for _, number in lines(path)}) == written, crash
        assert in_order(lines(path)), crash
        written = narrow(*"aba")
    assert struck > 20


def relay_to_file(url: str, path: Path) -> None:
    """Drain the narrow outbox to a file, a line a message."""

    async def publish(batch: Sequence[Message]) -> None:
        with path.open("a") as file:
            file.writelines(f"{message.key} {message.id}\n" for message in batch)

    asyncio.run(Relay(url, publish, schema="narrow", pace=Pace(batch=2)).drain())


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_while_writers_and_other_relays_are_at_work(  # noqa: PLR0913, PLR0917 - fixtures
    url: str, in_order: InOrder, drain: Drain, sink: Any, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    path = tmp_path / "broker"
    done = threading.Event()
    written: list[int] = []

    def work() -> None:
        with psycopg.connect(url) as connection:
            number = 0
            while not done.is_set():
                written.extend(Outbox(connection).add_many([("t", f"k{number % 7}", "x") for _ in range(3)]))
                connection.commit()
                number += 1

    def relay() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(PROGRAM), url, str(path)])

    relays = [relay(), relay()]
    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(8):
            seen = path.stat().st_size if path.exists() else 0
            deadline = time.monotonic() + 20
            while (path.stat().st_size if path.exists() else 0) == seen and time.monotonic() < deadline:
                time.sleep(0.005)
            time.sleep(chance.uniform(0, 0.1))
            victim = chance.randrange(2)
            relays[victim].kill()
            relays[victim].wait()
            relays[victim] = relay()
    finally:
        done.set()
        writer.join()
        for one in relays:
            one.kill()
            one.wait()
    drain(sink)
    seen_by_all = [*lines(path), *((message.key, message.id) for message in sink)]
    assert sorted({number for _, number in seen_by_all}) == written, f"seed {seed}"
    assert in_order(seen_by_all), f"seed {seed}"


def test_it_comes_back_when_the_database_does(
    url: str, write: Write, through: Callable[[int], str], sink: Any, eventually: Eventually
) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    with FaultProxy((str(parts["host"]), int(str(parts["port"])))) as proxy:
        relay = Relay(through(proxy.port), sink, poll_s=0.01, answer_s=2.0)
        loop = asyncio.new_event_loop()
        running = threading.Thread(target=lambda: loop.run_until_complete(relay.run()))
        running.start()
        try:
            first = write("a")
            eventually(lambda: sink.ids == first)
            with proxy.down() as down:
                second = write("a")
                eventually(lambda: down.hit)
            # At least once: the cut may have come between the sink and the delete.
            eventually(lambda: sorted(set(sink.ids)) == first + second)
            with proxy.black_hole() as hole:  # not even an end is heard
                third = write("a")
                eventually(lambda: hole.hit)
                eventually(lambda: len(proxy.connections()) > 1 or hole.hit)
            eventually(lambda: sorted(set(sink.ids)) == first + second + third)
        finally:
            loop.call_soon_threadsafe(relay.stop)
            running.join(60)
            loop.close()
        assert not running.is_alive()


def test_a_relay_that_hangs_at_the_broker_keeps_its_lane_and_one_that_is_gone_does_not(
    url: str, write: Write, sink: Any
) -> None:
    write("a")
    held = asyncio.Event()

    async def hangs(_: object) -> None:
        held.set()
        await asyncio.sleep(3600)

    async def both() -> None:
        first = asyncio.create_task(Relay(url, hangs).run())
        await held.wait()
        assert await Relay(url, sink).drain() == 0
        first.cancel()
        await asyncio.wait([first])
        for _ in range(1000):  # the server notices the end of the connection in its own time
            if await Relay(url, sink).drain():
                break
            await asyncio.sleep(0.01)

    asyncio.run(both())
    assert len(sink) == 1


def test_poison_is_parked_once_wherever_the_connection_is_cut(
    url: str, narrow: Callable[..., list[int]], in_order: InOrder, sink: Any
) -> None:
    written: list[int] = []

    def begin() -> None:
        sink.clear()
        with psycopg.connect(url) as connection:
            connection.execute("TRUNCATE narrow.outbox_parked")
        written[:] = narrow(*"abab")

    async def picky(batch: Sequence[Message]) -> None:
        for message in batch:
            if message.id == written[0]:
                raise ValueError("malformed")
            sink.append(message)

    def drained(to: str) -> None:
        tries = Tries(attempts=1, wait=Fixed(0.0))
        asyncio.run(Relay(to, picky, schema="narrow", answer_s=5.0, tries=tries).drain())

    struck = 0
    for cut in sweep_wire(
        drained, url, before=begin, only=() if EVERY_POINT else ("BEGIN", "INSERT", "COMMIT", "WITH")
    ):
        struck += 1
        assert cut.error is None or isinstance(cut.error, StoreDownError), (cut, cut.error)
        drained(url)
        assert sorted(set(sink.ids)) == [written[1], written[3]], cut
        assert in_order((message.key, message.id) for message in sink), cut
        with psycopg.connect(url) as connection:
            kept = [(one.id, one.attempts) for one in parked(connection, schema="narrow")]
        assert kept == [(written[0], 1), (written[2], 0)], cut
    assert struck > 10


def test_a_relay_whose_session_is_ended_behind_its_back_saves_nothing_and_breaks_no_order(
    url: str, write: Write, in_order: InOrder, sink: Any
) -> None:
    """It goes on publishing a lane that another relay has by now: what comes twice has come in order before."""
    written = write(*["a"] * 20)

    async def slow(batch: Sequence[Message]) -> None:
        for number, message in enumerate(batch):
            sink.append(message)
            if number == 5:
                with psycopg.connect(url) as admin:
                    admin.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                        "WHERE application_name = 'premortem outbox relay' AND datname = current_database()"
                    )
                await Relay(url, sink).drain()

    async def both() -> None:
        with pytest.raises(StoreDownError):
            await Relay(url, slow, pace=Pace(batch=10)).drain()

    asyncio.run(both())
    assert len(sink) > len(written)
    assert sorted(set(sink.ids)) == written
    assert in_order((message.key, message.id) for message in sink)
