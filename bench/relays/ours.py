"""premortem.durable.outbox: order per key, and what was published deleted within the measured time."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import psycopg
from bench.relays import KEYS, PAYLOAD, Sink

from premortem.durable.outbox import Outbox, Pace, Relay, create_tables

NAME = "premortem"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "batches of 500": {"pace": Pace(batch=500)},
    "two workers": {"workers": 2},
}


def why_not() -> str:
    """It is here."""
    return ""


def version() -> str:
    """This one."""
    return ""


async def fill(url: str, count: int) -> None:
    """In transactions of 1000."""
    with psycopg.connect(url) as connection:
        create_tables(connection)
        for start in range(0, count, 1000):
            numbers = range(start, min(count, start + 1000))
            Outbox(connection).add_many([("bench", f"k{number % KEYS}", PAYLOAD) for number in numbers])
            connection.commit()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE premortem.outbox")


async def drain(url: str, setting: str, sink: Sink, count: int) -> float:
    """Until there is nothing left."""
    relay = Relay(url, sink.many, **SETTINGS[setting])
    began = time.perf_counter()
    while sink.count < count:
        await relay.drain()
    return time.perf_counter() - began
