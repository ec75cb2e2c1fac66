"""One lane for a while: publish what waits in it, save how far it is, and delete what has had its time.

While a batch is on its way to the broker, the one before it is saved and the one after it is read. So a relay that dies
repeats two batches at most; a save before the acknowledgement would lose them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta

from premortem.durable.outbox import statements
from premortem.durable.outbox.delivery import Delivery, Failure
from premortem.durable.outbox.errors import TooManyParkedError
from premortem.durable.outbox.message import Message
from premortem.durable.outbox.position import Position
from premortem.durable.outbox.session import Batch, Progress, Session
from premortem.durable.telling import tell
from premortem.events import emit
from premortem.ports import Clock

_PURGE_LIMIT = 5000
_MARKS = 8  # so many in a retention: that much longer than asked for a message stays at most


@dataclass(frozen=True, slots=True)
class Pace:
    """How much at once: messages and bytes in a batch, seconds for a turn; how long what was published is kept.

    `parked_most`: more parked messages than this, and the relay stops with an error.
    """

    batch: int = 1000
    batch_bytes: int = 4 << 20
    turn_s: float = 2.0
    retention_s: float = 0.0
    parked_most: int = 10_000


@dataclass(frozen=True, slots=True)
class _Dealt:
    """What is published, or could not be, and has still to be saved."""

    position: Position
    failures: Sequence[Failure] = ()


class Turn:
    """What one worker does with a lane."""

    def __init__(self, session: Session, delivery: Delivery, pace: Pace, clock: Clock, stop: asyncio.Event) -> None:
        self._session, self._delivery, self._pace = session, delivery, pace
        self._clock, self._stop = clock, stop
        self._ends = 0.0

    async def take(self, lane: int) -> int:
        """Publish what waits in a lane, as far as the turn goes: how many; 0 where another relay has the lane."""
        progress = await self._session.claim(lane)
        if progress is None:
            return 0
        try:
            self._ends = self._clock.monotonic() + self._pace.turn_s
            count = await self._released(lane)
            held = {row[0] for row in await self._session.rows(statements.HELD, lane=lane)}
            progress, streamed = await self._stream(progress, held)
            await self._tidy(progress)
            return count + streamed
        finally:
            with suppress(Exception):  # without the connection the lane is free, too, and its error is on its way
                await self._session.release(lane)

    async def tidy(self, lane: int) -> None:
        """Delete what has had its time in a lane where nothing waits."""
        progress = await self._session.claim(lane)
        if progress is not None:
            self._ends = self._clock.monotonic() + self._pace.turn_s
            await self._tidy(progress)
            await self._session.release(lane)

    def _over(self) -> bool:
        return self._stop.is_set() or self._clock.monotonic() >= self._ends

    async def _stream(self, progress: Progress, held: set[str]) -> tuple[Progress, int]:
        count, dealt = 0, None
        batch: Batch | None = await self._next(progress.lane, progress.position)
        while batch is not None and batch.messages:
            delivering = asyncio.create_task(self._deliver(batch, held))
            try:
                progress = await self._saved(progress, dealt)
                following = await self._following(progress.lane, batch)
                dealt = _Dealt(batch.after, await delivering)
            finally:
                await _ended(delivering)
            count += len(batch.messages) - len(dealt.failures)
            batch = following
        if batch is not None and (dealt or progress.position.upto is not None):  # nothing is left: the window is closed
            dealt = _Dealt(batch.after, dealt.failures if dealt else ())
        return await self._saved(progress, dealt), count

    async def _following(self, lane: int, batch: Batch) -> Batch | None:
        """The batch after this one; None where the turn is over, or too few have come to be worth a window already."""
        if self._over() or (batch.after.upto is None and len(batch.messages) < self._pace.batch):
            return None
        return await self._next(lane, batch.after)

    async def _next(self, lane: int, position: Position) -> Batch:
        batch = await self._session.batch(lane, position, self._pace.batch, self._pace.batch_bytes)
        if not batch.messages and position.upto is not None:  # the window's end: look into the next one
            batch = await self._session.batch(lane, batch.after, self._pace.batch, self._pace.batch_bytes)
        return batch

    async def _deliver(self, batch: Batch, held: set[str]) -> tuple[Failure, ...]:
        """Publish what is not held; what could not be published is held from now on, with all behind it."""
        began = self._clock.monotonic()
        behind = [Failure(one, "", 0) for one in batch.messages if one.key in held]
        failures = await self._delivery.deliver(
            [one for one in batch.messages if one.key not in held] if held else batch.messages
        )
        held.update(failure.message.key for failure in failures if failure.message.key is not None)
        emit(
            "outbox.published", messages=len(batch.messages) - len(failures) - len(behind),
            seconds=self._clock.monotonic() - began,
        )  # fmt: skip
        return (*behind, *failures)

    async def _saved(self, progress: Progress, dealt: _Dealt | None) -> Progress:
        if dealt is None:
            return progress
        now = self._clock.now()
        if not dealt.failures:
            return await self._session.save(progress, dealt.position, now)
        await self._require_room(len(dealt.failures))
        async with self._session.together():
            await self._park(progress.lane, dealt.failures)
            return await self._session.save(progress, dealt.position, now)

    async def _require_room(self, more: int) -> None:
        most = self._pace.parked_most
        parked = (await self._session.rows(statements.PARKED, limit=most + 1))[0][0]
        if parked + more > most:
            raise TooManyParkedError(
                f"{parked + more} messages would be parked, and parked_most is {most}: that is not single messages' "
                "fault; see outbox.parked(connection), mend the cause, release or discard them, or raise parked_most"
            )

    async def _park(self, lane: int, failures: Sequence[Failure]) -> None:
        now = self._clock.now()
        behind = [failure.message.id for failure in failures if not failure.attempts]
        if behind:
            await self._session.execute(statements.PARK, lane=lane, ids=behind, now=now, attempts=0, why=None)
        for failure in failures:
            if failure.attempts:
                await self._session.execute(
                    statements.PARK, lane=lane, ids=[failure.message.id], now=now, attempts=failure.attempts,
                    why=failure.why,
                )  # fmt: skip
                tell("outbox.parked", message=failure.message.message_id, key=failure.message.key, error=failure.why)

    async def _released(self, lane: int) -> int:
        """Publish what was parked and has been released; a message that fails again holds its key again."""
        count = 0
        while not self._over():
            rows = await self._session.rows(statements.RELEASED, lane=lane, limit=self._pace.batch)
            if not rows:
                break
            messages = [Message(self._session.source, *row) for row in rows]
            failures = await self._delivery.one_at_a_time(messages)
            failed = {failure.message.id for failure in failures}
            async with self._session.together():
                gone = [one.id for one in messages if one.id not in failed]
                await self._session.execute(statements.UNPARK, lane=lane, ids=gone)
                for failure in failures:
                    if failure.attempts:
                        await self._session.execute(
                            statements.HOLD_AGAIN, lane=lane, id=failure.message.id, key=failure.message.key,
                            attempts=failure.attempts, why=failure.why,
                        )  # fmt: skip
            count += len(gone)
        return count

    async def _tidy(self, progress: Progress) -> None:
        """Delete what was published longer ago than the retention, from where that was left off."""
        target = await self._target(progress)
        if target is None:
            return
        purged = await self._session.progress("purged", progress.lane)
        position = purged.position
        if position.upto is None:
            if position.done == target.done:
                return
            position = position.opened(target.done, target.floor)
        while position.upto is not None:
            count, last = await self._session.purge(progress.lane, position, _PURGE_LIMIT)
            position = position.closed() if count < _PURGE_LIMIT else position.reached(last)
            purged = await self._session.save(purged, position, self._clock.now())
            if self._over():
                return

    async def _target(self, progress: Progress) -> Position | None:
        """Up to where everything may go."""
        lane, position, now = progress.lane, progress.position, self._clock.now()
        if not self._pace.retention_s:
            return Position(position.done, position.floor)
        retention = timedelta(seconds=self._pace.retention_s)
        marked = (await self._session.rows(statements.NEWEST_MARK, lane=lane))[0][0]
        if marked is None or marked <= now - retention / _MARKS:
            await self._session.execute(
                statements.MARK, lane=lane, done=position.done, floor=position.floor, now=now
            )  # fmt: skip
        ripe = await self._session.rows(statements.RIPE_MARK, lane=lane, before=now - retention)
        if not ripe:
            return None
        await self._session.execute(statements.FORGET_MARKS, lane=lane, id=ripe[0][0] - 1)
        return Position(ripe[0][1], ripe[0][2])


async def _ended(task: asyncio.Task[tuple[Failure, ...]]) -> None:
    """Nobody waits for it any more, if it is still at work."""
    if not task.done():
        task.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await task
    elif not task.cancelled():
        task.exception()  # it has been seen, or something worse is on its way
