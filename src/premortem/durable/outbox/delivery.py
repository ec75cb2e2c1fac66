"""Deliver a batch: to a broker that may be down, with messages that it may never take.

Laws:
- A broker that is down is no message's fault: it is tried again, with growing waits, and nothing is given up. Neither
  is a publisher that is set up wrongly: its ConfigurationError ends the relay, before it parks every message.
- Otherwise the messages are tried one at a time, in order. One that fails `attempts` times is poison: either its key
  stops there, or it goes to the dead letters; other keys go on.
- What a publisher has not acknowledged is published again. Therefore `publish` delivers in the batch's order and stops
  at the first failure, or delivers all or nothing: then whatever comes twice has come in order the first time.
"""

from __future__ import annotations

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message
from premortem.durable.telling import tell
from premortem.errors import ConfigurationError
from premortem.policies.waits import Backoff, Wait

Publish = Callable[[Sequence[Message]], Awaitable[object]]
DeadLetter = Callable[[Message, Exception, int], Awaitable[object] | None]
"""Called with the message, the last error and the number of attempts; when it returns, the message is dealt with."""

DOWN = (SinkDownError, OSError)  # TimeoutError and ConnectionError are OSErrors
NO_MESSAGES_FAULT = (*DOWN, ConfigurationError)


class StoppedError(Exception):
    """The relay was asked to stop while it waited for a broker: the batch is not acknowledged."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A message that was not published; `attempts` is 0 for one that has to wait behind another of its key."""

    message: Message
    why: str
    attempts: int


@dataclass(frozen=True, slots=True)
class Tries:
    """How often, and for how long.

    `attempts` for a message, `publish_s` seconds for a call, `down_attempts` at a
    dead broker (None: for as long as it takes).
    """

    attempts: int = 5
    publish_s: float = 30.0
    wait: Wait = field(default_factory=lambda: Backoff(0.05, 10.0))
    down_attempts: int | None = None


class Delivery:
    """Hands batches to `publish`. `stop` ends its waits with StoppedError."""

    def __init__(
        self, publish: Publish, tries: Tries, dead_letter: DeadLetter | None, stop: asyncio.Event, chance: random.Random
    ) -> None:
        self._publish, self._tries, self._dead_letter = publish, tries, dead_letter
        self._stop, self._chance = stop, chance

    async def deliver(self, batch: Sequence[Message]) -> tuple[Failure, ...]:
        """Publish all that can be; what could not, in its order. SinkDownError after `down_attempts`."""
        if not batch:
            return ()
        try:
            await self._while_down(lambda: self._publish(batch))
        except NO_MESSAGES_FAULT:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a publisher raises; whose fault it is shows one at a time
            if len(batch) > 1:
                tell("outbox.one_at_a_time", messages=len(batch), error=_named(error))
        else:
            return ()
        return await self.one_at_a_time(batch)

    async def one_at_a_time(self, batch: Sequence[Message]) -> tuple[Failure, ...]:
        """As `deliver`, so that one message's failure is nobody else's."""
        failures: list[Failure] = []
        stopped: set[str] = set()
        for message in batch:
            if message.key in stopped:
                failures.append(Failure(message, "", 0))
            elif failure := await self._single(message):
                failures.append(failure)
                if message.key is not None:
                    stopped.add(message.key)
        return tuple(failures)

    async def _single(self, message: Message) -> Failure | None:
        for attempt in range(1, self._tries.attempts + 1):
            try:
                await self._while_down(lambda: self._publish([message]))
            except NO_MESSAGES_FAULT:
                raise
            except Exception as error:  # noqa: BLE001 - as above
                if attempt == self._tries.attempts:
                    return await self._poison(message, error, attempt)
            else:
                return None
            await self._pause(attempt)
        raise AssertionError("unreachable: attempts is 1 or more")

    async def _poison(self, message: Message, error: Exception, attempts: int) -> Failure | None:
        why = _named(error)
        tell("outbox.poison", message=message.message_id, topic=message.topic, key=message.key, error=why)
        dead_letter = self._dead_letter
        if dead_letter is None:
            return Failure(message, why, attempts)

        async def hand_over() -> None:
            try:
                given = dead_letter(message, error, attempts)
                if inspect.isawaitable(given):
                    await given
            except Exception as failed:
                raise SinkDownError(f"the dead letters do not take {message.message_id}: {_named(failed)}") from failed

        await self._while_down(hand_over)
        return None

    async def _while_down(self, action: Callable[[], Awaitable[object]]) -> None:
        """Do it, and again as long as the broker is down."""
        attempt = 0
        while True:
            try:
                async with asyncio.timeout(self._tries.publish_s):
                    await action()
            except DOWN as error:
                attempt += 1
                tell("outbox.sink_down", attempt=attempt, error=_named(error))
                if attempt == self._tries.down_attempts:
                    raise SinkDownError(
                        f"the broker was down {attempt} times in a row ({_named(error)}); nothing is lost: bring it "
                        "back and run again"
                    ) from error
            else:
                return
            await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        seconds = self._tries.wait.seconds(attempt, 0.0, self._chance)
        if await interrupted(self._stop, seconds):
            raise StoppedError


async def interrupted(stop: asyncio.Event, seconds: float) -> bool:
    """Wait so many seconds; True at once when it is time to stop."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return stop.is_set()
    return True


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:1000]
