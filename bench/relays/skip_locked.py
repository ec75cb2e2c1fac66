"""What is usually written: `DELETE .. WHERE id IN (SELECT .. FOR UPDATE SKIP LOCKED)` in batches of 500, by asyncpg.

Two of them break the order of a key, and an old transaction slows it down; it is what to compare the speed with.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import asyncpg  # type: ignore[import-untyped]
from bench.relays import KEYS, PAYLOAD, Sink

NAME = "SKIP LOCKED loop"
SETTINGS: Mapping[str, Mapping[str, Any]] = {"batches of 500": {"batch": 500}}
_TABLE = """
CREATE TABLE IF NOT EXISTS plain_outbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, topic text NOT NULL, key text, payload bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""
_TAKE = """
DELETE FROM plain_outbox
WHERE id IN (SELECT id FROM plain_outbox ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING id, topic, key, payload, created_at
"""


@dataclass(frozen=True)
class Taken:
    """A message."""

    id: int
    topic: str
    key: str | None
    payload: bytes
    message_id: str
    headers: None = None


def why_not() -> str:
    """It is here."""
    return ""


def version() -> str:
    """It has none."""
    return ""


async def fill(url: str, count: int) -> None:
    """In one statement."""
    connection = await asyncpg.connect(url)
    await connection.execute(_TABLE)
    rows = [("bench", f"k{number % KEYS}", PAYLOAD) for number in range(count)]
    await connection.copy_records_to_table("plain_outbox", records=rows, columns=["topic", "key", "payload"])
    await connection.execute("VACUUM ANALYZE plain_outbox")
    await connection.close()


async def drain(url: str, setting: str, sink: Sink, count: int) -> float:
    """Publish, then commit."""
    connection = await asyncpg.connect(url)
    began = time.perf_counter()
    while sink.count < count:
        async with connection.transaction():
            rows = await connection.fetch(_TAKE, SETTINGS[setting]["batch"])
            batch = [Taken(row[0], row[1], row[2], row[3], f"plain:{row[0]}") for row in rows]
            batch.sort(key=lambda one: one.id)
            await sink.many(batch)
    seconds = time.perf_counter() - began
    await connection.close()
    return seconds
