"""The relay: publishes what the outbox holds, at least once, in order for each key, for as long as it runs.

    relay = Relay(url, publish)                      # publish: async def publish(batch: Sequence[Message])
    loop.add_signal_handler(signal.SIGTERM, relay.stop)
    await relay.run()

Laws:
- Progress is saved after the broker's acknowledgement: a relay that is killed repeats, and loses nothing.
- A lane has one relay at a time; a relay keeps it for `turn_s` seconds, so that any number of relays share the work.
- One batch is with the broker and one in hand: a slow broker slows the relay, and does not fill its memory.
- No database, no broker: it waits and tries again, and says so (events and log: `outbox.database_down`,
  `outbox.sink_down`).

It wants a session of its own: pass no URL of a pooler in transaction mode, whose advisory locks are nobody's.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import TypeVar

from premortem.durable.errors import StoreDownError
from premortem.durable.outbox.delivery import DeadLetter, Delivery, Publish, StoppedError, Tries, interrupted
from premortem.durable.outbox.session import Session
from premortem.durable.outbox.turn import Pace, Turn
from premortem.durable.sessions.postgres_tables import SCHEMA, driver, valid_schema
from premortem.durable.telling import tell
from premortem.policies import checks
from premortem.policies.waits import Backoff
from premortem.ports import Clock, SystemClock

T = TypeVar("T")
_TIDY_S = 10.0
_RECONNECT = Backoff(0.1, 5.0)


class Relay:
    """Publishes the outbox of a database by `publish`.

    `workers` are connections that are at work at once, each on a lane. `poll_s` seconds pass between two looks while
    little or nothing waits. `dead_letter` takes messages that fail `tries.attempts` times; without it their key stops
    there. `answer_s` bounds every answer of the database.
    """

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        url: str,
        publish: Publish,
        *,
        schema: str = SCHEMA,
        workers: int = 1,
        poll_s: float = 0.1,
        pace: Pace | None = None,
        tries: Tries | None = None,
        dead_letter: DeadLetter | None = None,
        answer_s: float = 15.0,
        clock: Clock | None = None,
        chance: random.Random | None = None,
    ) -> None:
        driver()
        self._url, self._schema = url, valid_schema(schema)
        self._publish, self._dead_letter = publish, dead_letter
        self._workers = checks.whole("workers", workers, 1, 1024)
        self._poll_s = checks.seconds("poll_s", poll_s)
        self._answer_s = checks.seconds("answer_s", answer_s, low=0.1)
        self._pace = _checked(pace or Pace())
        self._tries = tries or Tries()
        checks.whole("tries.attempts", self._tries.attempts, 1, 1000)
        checks.seconds("tries.publish_s", self._tries.publish_s)
        self._clock = clock or SystemClock()
        self._chance = chance or random.Random()  # noqa: S311 - spreads waits, no secret hangs on it
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End `run` after the batches that are with the broker now. For another thread: call_soon_threadsafe(stop)."""
        self._stop.set()

    async def run(self) -> None:
        """Publish until `stop`. ConfigurationError, TooManyParkedError and MovedOutboxError end it, too."""
        await _all([self._work() for _ in range(self._workers)])

    async def drain(self) -> int:
        """Publish what waits now and can be had (another relay may have a lane), and come back: how many.

        StoreDownError without the database; SinkDownError when the broker is down `tries.down_attempts` times in a row
        (`tries.attempts` where that is None).
        """
        tries = replace(self._tries, down_attempts=self._tries.down_attempts or self._tries.attempts)
        counts = await _all([self._drain(tries) for _ in range(self._workers)])
        return sum(counts)

    async def _work(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            try:
                async with Session(self._url, self._schema, self._answer_s) as session:
                    await session.waiting()
                    attempt = 0
                    await self._serve(session)
            except StoppedError:
                return
            except StoreDownError as error:
                attempt += 1
                tell("outbox.database_down", attempt=attempt, error=error.why)
                await interrupted(self._stop, _RECONNECT.seconds(attempt, 0.0, self._chance))

    async def _serve(self, session: Session) -> None:
        turn = self._turn(session, self._tries)
        tidied: float | None = None
        while not self._stop.is_set():
            count = await self._round(session, turn)
            now = self._clock.monotonic()
            if not count and (tidied is None or now - tidied >= _TIDY_S):
                tidied = now
                for lane in range(session.lanes):
                    await turn.tidy(lane)
            if count < self._pace.batch:  # let some gather
                await interrupted(self._stop, self._poll_s)

    async def _round(self, session: Session, turn: Turn) -> int:
        lanes = await session.waiting()
        self._chance.shuffle(lanes)  # several relays would otherwise ask for the same one at the same time
        count = 0
        for lane in lanes:
            if self._stop.is_set():
                break
            count += await turn.take(lane)
        return count

    async def _drain(self, tries: Tries) -> int:
        total = 0
        try:
            async with Session(self._url, self._schema, self._answer_s) as session:
                turn = self._turn(session, tries)
                while not self._stop.is_set() and (count := await self._round(session, turn)):
                    total += count
        except StoppedError:
            pass
        return total

    def _turn(self, session: Session, tries: Tries) -> Turn:
        delivery = Delivery(self._publish, tries, self._dead_letter, self._stop, self._chance)
        return Turn(session, delivery, self._pace, self._clock, self._stop)


def _checked(pace: Pace) -> Pace:
    checks.whole("pace.batch", pace.batch, 1, 100_000)
    checks.whole("pace.batch_bytes", pace.batch_bytes, 1, 1 << 30)
    checks.seconds("pace.turn_s", pace.turn_s)
    checks.number("pace.retention_s", pace.retention_s, 0, 366 * 86_400, "seconds")
    checks.whole("pace.parked_most", pace.parked_most, 0, 10_000_000)
    return pace


async def _all(works: Sequence[Coroutine[object, object, T]]) -> list[T]:
    """All of them at once; the first error ends them all, and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        return [task.result() for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
