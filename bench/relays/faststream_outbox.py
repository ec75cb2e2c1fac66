"""faststream-outbox: one handler call a message, as its relay decorator has it. No order for a key."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import time
from collections.abc import Mapping
from typing import Any

from bench.relays import PAYLOAD, Sink

NAME = "faststream-outbox"
_QUICK = {"min_fetch_interval": 0.001, "max_fetch_interval": 0.05}
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "8 workers, fetch 500": {"max_workers": 8, "fetch_batch_size": 500, **_QUICK},
    "16 workers, fetch 1000, flush 500": {
        "max_workers": 16, "fetch_batch_size": 1000, "terminal_flush_batch_size": 500, **_QUICK,
    },
    "32 workers, fetch 1000, flush 1000": {
        "max_workers": 32, "fetch_batch_size": 1000, "terminal_flush_batch_size": 1000, **_QUICK,
    },
}  # fmt: skip
_SLOW_S = 300.0


def why_not() -> str:
    """It comes with the group `bench`."""
    found = importlib.util.find_spec("faststream_outbox")
    return "" if found else "not installed: pip install faststream-outbox[asyncpg]==0.19.0"


def version() -> str:
    """The distribution's."""
    return importlib.metadata.version("faststream-outbox")


def _broker(url: str, most: int) -> tuple[Any, Any, Any]:
    import logging  # noqa: PLC0415

    from faststream_outbox import (  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
        OutboxBroker,
        make_outbox_table,
    )
    from sqlalchemy import MetaData  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
    from sqlalchemy.ext.asyncio import (  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415
        create_async_engine,
    )

    engine = create_async_engine(
        url.replace("postgresql://", "postgresql+asyncpg://"), pool_size=most + 4, max_overflow=4
    )
    table = make_outbox_table(MetaData(), table_name="faststream_outbox")
    return OutboxBroker(engine, outbox_table=table, logger=None, log_level=logging.ERROR), engine, table


async def fill(url: str, count: int) -> None:
    """By its own batch insert."""
    from sqlalchemy import text  # noqa: PLC0415

    broker, engine, table = _broker(url, 2)
    async with engine.begin() as connection:
        await connection.run_sync(table.metadata.create_all)
    for start in range(0, count, 1000):
        async with engine.begin() as connection:
            bodies = [PAYLOAD] * min(1000, count - start)
            await broker.publish_batch(*bodies, queue="bench", session=connection)
    async with engine.connect() as connection:
        plain = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await plain.execute(text("VACUUM ANALYZE faststream_outbox"))
    await engine.dispose()


async def drain(url: str, setting: str, sink: Sink, count: int) -> float:
    """Until its table is empty."""
    from sqlalchemy import func, select  # noqa: PLC0415

    settings = SETTINGS[setting]
    broker, engine, table = _broker(url, settings.get("max_workers", 1))

    @broker.subscriber("bench", **settings)  # type: ignore[untyped-decorator, unused-ignore]
    async def handle(body: bytes) -> None:
        await sink.one(body)

    began = time.perf_counter()
    await broker.start()
    async with asyncio.timeout(_SLOW_S):
        while sink.count < count:  # noqa: ASYNC110 - the sink counts, and tells nobody
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
        async with engine.connect() as connection:
            while await connection.scalar(select(func.count()).select_from(table)):
                await asyncio.sleep(0.05)
                await connection.rollback()
    await broker.stop()
    await engine.dispose()
    return seconds
