"""Measures `premortem.durable.outbox` beside its peers in one run, and prints a page of Markdown: `make bench-outbox`.

    .venv-bench/bin/python bench/outbox.py [--quick] > page.md

How it is measured: the same messages of 300 bytes, written before; one relay in one process takes them out, and what is
shown is how many a second. Every round has each relay with each of its settings, each round beginning with another; a
peer's figure is its best setting's. All run on uvloop, with PostgreSQL as it is installed (fsync on).
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import logging
import os
import platform
import statistics
import sys
import uuid
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).parent.parent))  # started by its path: its own modules are `bench.*`

import psycopg
from bench.relays import Relay, Sink

from premortem.durable.outbox.publishers.valkey_streams import ValkeyStreams
from premortem.servers import Servers
from premortem.servers.databases import create, drop

MODULES = ("ours", "skip_locked", "pgqueuer", "faststream_outbox")
OURS, LOOP = "premortem", "SKIP LOCKED loop"
BAR, HELD_BAR = 3.0, 0.7
COUNT, SLOW_COUNT, ROUNDS = 20_000, 1_000, 3
HELD_CYCLES = 10
_CONNECTIONS = 50
Rates = dict[tuple[str, str], list[float]]


class Nowhere:
    """A sink that costs nothing: what is measured is the relay and the database."""

    def __init__(self) -> None:
        self.count = 0

    async def one(self, payload: bytes) -> None:  # noqa: ARG002 - it goes nowhere
        """Count it."""
        self.count += 1

    async def many(self, messages: Sequence[Any]) -> None:
        """Count them."""
        self.count += len(messages)


class Streams:
    """A Valkey stream: whoever publishes one at a time does it with the usual client, on a pool of connections."""

    def __init__(self, url: str) -> None:
        from valkey.asyncio import BlockingConnectionPool, Valkey  # noqa: PLC0415

        self.count = 0
        pool = BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS, timeout=60)
        self._client, self._batches = Valkey(connection_pool=pool), ValkeyStreams(url, most=1000)

    async def one(self, payload: bytes) -> None:
        """Add it, and wait for the answer."""
        await self._client.xadd("bench", {"payload": payload}, maxlen=1000)
        self.count += 1

    async def many(self, messages: Sequence[Any]) -> None:
        """Add them in one transaction."""
        if messages:
            await self._batches(messages)
        self.count += len(messages)


@contextmanager
def database(admin_url: str) -> Iterator[str]:
    """A new one."""
    name = f"bench_{uuid.uuid4().hex[:12]}"
    yield create(admin_url, name)
    drop(admin_url, name)


def relays() -> list[Relay]:
    """All of them."""
    return [cast("Relay", importlib.import_module(f"bench.relays.{module}")) for module in MODULES]


async def rate(relay: Relay, url: str, setting: str, sink: Sink, count: int) -> float:
    """Messages a second."""
    await relay.fill(url, count)
    return count / await relay.drain(url, setting, sink, count)


def run(work: Coroutine[Any, Any, float]) -> float:
    """On uvloop, where it is."""
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def drain_rates(
    admin_url: str, sink: Callable[[], Sink], count: int, rounds: int, what: str
) -> tuple[Rates, list[str]]:
    """By relay and setting, a figure a round; and who could not be measured."""
    rates: Rates = defaultdict(list)
    cells = [(relay, setting) for relay in relays() if not relay.why_not() for setting in relay.SETTINGS]
    notes = [f"- {relay.NAME}: {relay.why_not()}" for relay in relays() if relay.why_not()]
    for number in range(rounds):
        turn = number * 3 % len(cells)
        for relay, setting in cells[turn:] + cells[:turn]:
            size = SLOW_COUNT if setting == "default" and relay.NAME != OURS else count
            say(f"{what}, round {number + 1} of {rounds}: {relay.NAME}, {setting}")
            with database(admin_url) as url:
                try:
                    rates[relay.NAME, setting].append(run(rate(relay, url, setting, sink(), size)))
                except (OSError, RuntimeError) as error:
                    notes.append(f"- {what}: {relay.NAME}, {setting}: {type(error).__name__}: {error}")
    return rates, notes


def best(rates: Rates, name: str) -> tuple[str, float]:
    """The setting of a relay with the best median, and that."""
    found = {setting: statistics.median(runs) for (relay, setting), runs in rates.items() if relay == name}
    setting = max(found, key=lambda one: found[one])
    return setting, found[setting]


def table(rates: Rates) -> str:
    """A row a setting."""
    ours = best(rates, OURS)[1]
    lines = ["| relay | setting | messages/s: median (least to most) | ours to it |", "| --- | --- | ---: | ---: |"]
    for (name, setting), runs in rates.items():
        middle = statistics.median(runs)
        ratio = "" if name == OURS else f"{ours / middle:.1f}x"
        lines.append(f"| {name} | {setting} | {middle:,.0f} ({min(runs):,.0f} to {max(runs):,.0f}) | {ratio} |")
    return "\n".join(lines)


def goals(rates: Rates, where: str) -> list[str]:
    """A line for each peer."""
    ours = best(rates, OURS)[1]
    lines = []
    for name in dict.fromkeys(name for name, _ in rates if name not in (OURS, LOOP)):
        setting, middle = best(rates, name)
        met = "met" if ours >= BAR * middle else "**not met**"
        lines.append(f"- {where}: at least {BAR:g}x {name}'s best ({setting}): {met} ({ours / middle:.1f}x)")
    return lines


def held(admin_url: str, count: int, rounds: int) -> tuple[str, list[str]]:
    """An idle REPEATABLE READ transaction keeps all that is deleted from being cleared away: what that costs.

    Two databases, one with such a transaction and one without, are filled and drained in turn.
    """
    lines = [
        "| relay | without, last | with, first | with, last | with to without |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    said = []
    for relay in relays()[:2]:
        setting = next(iter(relay.SETTINGS))
        ends: list[tuple[float, float, float]] = []
        for number in range(rounds):
            say(f"held, round {number + 1} of {rounds}: {relay.NAME}")
            with database(admin_url) as free, database(admin_url) as url:
                run(rate(relay, url, setting, Nowhere(), 100))  # makes the tables
                with psycopg.connect(url) as old:
                    old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
                    old.execute("SELECT count(*) FROM pg_class")
                    cycles = [
                        tuple(run(rate(relay, where, setting, Nowhere(), count)) for where in (free, url))
                        for _ in range(HELD_CYCLES)
                    ]
            last = [statistics.median(one[place] for one in cycles[-3:]) for place in (0, 1)]
            ends.append((last[0], cycles[0][1], last[1]))
        ratio = statistics.median(last / without for without, _, last in ends)
        figures = " | ".join(f"{statistics.median(one):,.0f}" for one in zip(*ends, strict=True))
        lines.append(f"| {relay.NAME} | {figures} | {ratio:.0%} |")
        if relay.NAME == OURS:
            met = "met" if ratio >= HELD_BAR else "**not met**"
            said.append(f"- an old transaction leaves at least {HELD_BAR:.0%} of the rate: {met} ({ratio:.0%})")
    return "\n".join(lines), said


def say(what: str) -> None:
    """Progress, where it is not part of the page."""
    sys.stderr.write(f"\r{what:90}")
    sys.stderr.flush()


def page(arguments: argparse.Namespace) -> str:
    """All of it."""
    count, rounds = (5_000, 2) if arguments.quick else (COUNT, ROUNDS)
    with Servers() as servers:
        admin_url, valkey_url = servers.postgres().admin_url, servers.valkey().admin_url
        nowhere, notes = drain_rates(admin_url, Nowhere, count, rounds, "no broker")
        streams, more_notes = drain_rates(admin_url, lambda: Streams(valkey_url), count, rounds, "Valkey")
        old, old_goal = held(admin_url, count, rounds)
    found = [*goals(nowhere, "no broker"), *goals(streams, "Valkey streams"), *old_goal]
    who = "\n".join(
        f"- **{one.NAME}** {one.version()}: {' '.join((one.__doc__ or '').split())}"
        for one in relays()
        if not one.why_not()
    )
    return PAGE.format(
        when=datetime.now(UTC).strftime("%Y-%m-%d"), cores=os.cpu_count(), python=platform.python_version(),
        count=count, rounds=rounds, slow=SLOW_COUNT,
        goals="\n".join(found), who=who, nowhere=table(nowhere), streams=table(streams),
        held=old, cycles=HELD_CYCLES, notes="\n".join(dict.fromkeys([*notes, *more_notes])),
    )  # fmt: skip


PAGE = """# The outbox beside its peers

Written by `make bench-outbox` on {when}: {cores} processors, Python {python}, {count:,} messages of 300 bytes
({slow:,} for the peers' defaults), {rounds} rounds. Machines differ and a busy one more so: trust the ratios, which are
from one run.

## Goals

{goals}

## Who

{who}

## Drain rate, to a sink that costs nothing

{nowhere}

## Drain rate, to Valkey streams

Ours puts a batch in by one transaction; the peers call a handler for each message, which adds it and waits for
the answer.

{streams}

## An old transaction

One idle REPEATABLE READ transaction, as a report or a forgotten session has it, keeps every deleted row from being
cleared away. {cycles} times {count:,} messages are written and drained, in turn in a database with such a
transaction and in one without; "last" is the median of the last three times.

{held}

Nothing lost and the order kept, killed and cut off at every place: that is shown by `tests/durable/outbox`.

{notes}"""


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    logging.disable(logging.WARNING)
    print(page(parser.parse_args()).rstrip())


if __name__ == "__main__":
    main()
