"""A relay's connection to the database: claims lanes, reads their messages, keeps their positions.

Law: the lock on a lane, its reading and its progress are one connection's. When that is gone, so is the lock, and
nothing that its owner still believes can be written. The relay that takes over begins where the progress stands, or
earlier than the other had come; so whatever comes twice has come in order the first time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Self

from premortem.durable.errors import StoreDownError
from premortem.durable.outbox import statements
from premortem.durable.outbox.errors import MovedOutboxError
from premortem.durable.outbox.message import Message
from premortem.durable.outbox.position import Position
from premortem.durable.sessions.postgres_tables import driver, statement, valid_schema
from premortem.errors import ConfigurationError

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    Connection = AsyncConnection[tuple[Any, ...]]

Kind = Literal["published", "purged"]

# A lost last save costs repeats and no message, so it need not wait for the disk. The plans must not hang on
# statistics: those of a queue are wrong most of the time. A relay whose machine is gone loses its lanes within 25
# seconds.
_SETTINGS = {
    "synchronous_commit": "off", "timezone": "UTC", "jit": "off", "enable_seqscan": "off", "enable_bitmapscan": "off",
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
}  # fmt: skip
_SET = b"SELECT set_config(name, value, false) FROM unnest(%s::text[], %s::text[]) AS s (name, value)"


@dataclass(frozen=True, slots=True)
class Progress:
    """A position, and the `id` of the row that it stands in."""

    id: int
    kind: Kind
    lane: int
    position: Position


@dataclass(frozen=True, slots=True)
class Batch:
    """Messages of a lane in their order, and where it stands when they are published."""

    messages: Sequence[Message]
    after: Position


class Session:
    """One connection, of one relay's worker; an asynchronous context manager. No answer takes more than `answer_s`.

    StoreDownError when the server does not answer or the connection is lost; the session is of no use then.
    """

    def __init__(self, url: str, schema: str, answer_s: float) -> None:
        self._url, self._schema, self._answer_s = url, valid_schema(schema), answer_s
        self._sequence = ""
        self.source = ""
        """The outbox's identity."""
        self.lanes = 0

    async def __aenter__(self) -> Self:
        try:
            await self._connect()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _connect(self) -> None:
        psycopg = driver()
        async with self._told():
            self._connection: Connection = await psycopg.AsyncConnection.connect(
                self._url, autocommit=True, prepare_threshold=0, connect_timeout=max(2, round(self._answer_s)),
                application_name="premortem outbox relay",
            )  # fmt: skip
            bound = {"statement_timeout": f"{round(self._answer_s * 1000)}"}
            settings = _SETTINGS | bound
            await self._connection.execute(_SET, (list(settings), list(settings.values())))
        self.source, self.lanes = await self._one(statements.IDENTITY)
        self._sequence = str((await self._one(statements.SEQUENCE))[0])
        if (await self._one(statements.MOVED))[0]:
            raise MovedOutboxError(
                f"the outbox in schema {self._schema!r} has transactions that this server has not had yet: it was "
                "restored from another server; stop its writers and call premortem.durable.outbox.adopt(connection)"
            )

    async def __aexit__(self, *_: object) -> None:
        if hasattr(self, "_connection"):
            await self._connection.close()

    async def waiting(self) -> list[int]:
        """The lanes in which something waits."""
        return [row[0] for row in await self._all(statements.WAITING)]

    async def claim(self, lane: int) -> Progress | None:
        """How far the lane is published, and it is ours until `release`; None where another relay has it."""
        if not (await self._one(statements.CLAIM, lane=lane))[0]:
            return None
        return await self.progress("published", lane)

    async def release(self, lane: int) -> None:
        """Let other relays have the lane."""
        await self._one(statements.RELEASE, lane=lane)

    async def progress(self, kind: Kind, lane: int) -> Progress:
        """What was saved last."""
        row_id, *columns = await self._one(statements.NEWEST, kind=kind, lane=lane)
        return Progress(row_id, kind, lane, Position(*columns))

    async def save(self, progress: Progress, position: Position, now: datetime) -> Progress:
        """Replace the progress by this position."""
        row = await self._one(
            statements.SAVE, id=progress.id, kind=progress.kind, lane=progress.lane, done=position.done,
            floor=position.floor, upto=position.upto, upto_floor=position.upto_floor, last=position.last, now=now,
        )  # fmt: skip
        return Progress(row[0], progress.kind, progress.lane, position)

    async def batch(self, lane: int, position: Position, limit: int, most_bytes: int) -> Batch:
        """The next messages after `position`: none where there are none, and then `after` is the end of its window."""
        if position.upto is None:
            floor = (await self._one(statements.LAST_ID.replace("{sequence}", self._sequence)))[0]
            position = position.opened((await self._one(statements.SNAPSHOT))[0], floor)
        rows = await self._all(
            statements.FETCH, lane=lane, done=position.done, floor=position.floor, upto=position.upto,
            last=position.last, limit=limit, bytes=most_bytes,
        )  # fmt: skip
        source = self.source
        messages = [Message(source, *row[1:]) for row in rows]
        if not rows or rows[0][0] == len(rows) < limit:  # all that was found
            return Batch(messages, position.closed())
        return Batch(messages, position.reached(messages[-1].id))

    async def purge(self, lane: int, position: Position, limit: int) -> tuple[int, int]:
        """Delete the next messages after `position`: how many, and the last one's id."""
        row = await self._one(
            statements.PURGE, lane=lane, done=position.done, floor=position.floor, upto=position.upto,
            last=position.last, limit=limit,
        )  # fmt: skip
        return row[0], row[1]

    async def rows(self, text: str, **values: object) -> list[tuple[Any, ...]]:
        """What a statement of `statements` gives."""
        return await self._all(text, **values)

    async def execute(self, text: str, **values: object) -> None:
        """Do what a statement of `statements` says."""
        async with self._told():
            await self._connection.execute(_said(text, self._schema), values)

    @asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """What is done in this block is done wholly or not at all."""
        async with self._told(), self._connection.transaction():
            yield

    async def _one(self, text: str, **values: object) -> tuple[Any, ...]:
        rows = await self._all(text, **values)
        if not rows:
            raise ConfigurationError(
                f"the outbox in schema {self._schema!r}: a row of its tables is missing; call "
                "create_tables(connection) on a schema without them, and let nobody else write to them"
            )
        return rows[0]

    async def _all(self, text: str, **values: object) -> list[tuple[Any, ...]]:
        async with self._told():
            cursor = self._connection.cursor(binary=True)
            await cursor.execute(_said(text, self._schema), values or None)
            rows: list[tuple[Any, ...]] = await cursor.fetchall()
            return rows

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[None]:
        """Bound the wait, and say in our words what goes wrong."""
        psycopg = driver()
        try:
            async with asyncio.timeout(self._answer_s * 1.5):
                yield
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName) as error:
            raise ConfigurationError(
                f"the outbox in schema {self._schema!r}: has no tables there ({_line(error)}); call "
                f"create_tables(connection, schema={self._schema!r}) once"
            ) from error
        except (psycopg.OperationalError, psycopg.InterfaceError, TimeoutError) as error:
            # libpq's text may name the user's URL
            raise StoreDownError("the outbox's database", _line(error) or type(error).__name__) from None


@cache
def _said(text: str, schema: str) -> bytes:
    return statement(text, schema)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
