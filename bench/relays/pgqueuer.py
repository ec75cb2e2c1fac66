"""pgqueuer: a job queue; its handler stands for the relay. No order for a key."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from bench.relays import PAYLOAD, Sink

NAME = "pgqueuer"
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "batches of 100": {"batch_size": 100},
    "batches of 500": {"batch_size": 500},
    "batches of 1000": {"batch_size": 1000},
    "batches of 2000": {"batch_size": 2000},
}

_SLOW_S = 300.0


def why_not() -> str:
    """It comes with the group `bench`."""
    return "" if importlib.util.find_spec("pgqueuer") else "not installed: pip install pgqueuer==1.6.0"


def version() -> str:
    """The distribution's."""
    return importlib.metadata.version("pgqueuer")


async def fill(url: str, count: int) -> None:
    """By its own batch insert."""
    import asyncpg  # type: ignore[import-untyped]  # noqa: PLC0415
    from pgqueuer.db import AsyncpgDriver  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    from pgqueuer.queries import Queries  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    connection = await asyncpg.connect(url)
    queries = Queries(AsyncpgDriver(connection))
    if not await connection.fetchval("SELECT to_regclass('pgqueuer')"):
        await queries.install()
    for start in range(0, count, 1000):
        size = min(1000, count - start)
        await queries.enqueue(["bench"] * size, [PAYLOAD] * size, [0] * size)
    await connection.execute("VACUUM ANALYZE pgqueuer")
    await connection.close()


async def drain(url: str, setting: str, sink: Sink, count: int) -> float:
    """In its mode `drain`, on one connection; two were no faster."""
    import asyncpg  # noqa: PLC0415
    from pgqueuer.db import AsyncpgDriver  # noqa: PLC0415
    from pgqueuer.qm import QueueManager  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    from pgqueuer.queries import Queries  # noqa: PLC0415
    from pgqueuer.types import QueueExecutionMode  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    connection = await asyncpg.connect(url)
    manager = QueueManager(Queries(AsyncpgDriver(connection)))

    @manager.entrypoint("bench")  # type: ignore[untyped-decorator, unused-ignore]
    async def handle(job: Any) -> None:  # noqa: ANN401 - of a library that may not be here
        await sink.one(job.payload)

    began = time.perf_counter()
    async with asyncio.timeout(_SLOW_S):
        await manager.run(dequeue_timeout=timedelta(seconds=1), mode=QueueExecutionMode.drain, **SETTINGS[setting])
    seconds = time.perf_counter() - began
    await connection.close()
    if sink.count < count:
        raise RuntimeError(f"it has ended with {sink.count} of {count} messages brought to the sink")
    return seconds
