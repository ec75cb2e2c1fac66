"""Delivery decides by itself, without a database: who is to blame, who waits, who goes on."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.durable.outbox.delivery import Delivery, Failure, StoppedError, Tries
from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message
from premortem.errors import ConfigurationError
from premortem.events import Event, listening
from premortem.policies.waits import Fixed

AT_ONCE = Fixed(0.0)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def message(number: int, key: str | None) -> Message:
    return Message("outbox", number, "t", key, b"", None, NOW)


class Broker:
    """Down at the calls that it is told, refuses the messages that it is told, takes all others."""

    def __init__(self, refused: Sequence[int] = (), down: Sequence[int] = ()) -> None:
        self.refused, self.down, self.calls = set(refused), set(down), 0
        self.taken: list[int] = []

    async def __call__(self, batch: Sequence[Message]) -> None:
        self.calls += 1
        for one in batch:
            if self.calls in self.down:
                raise ConnectionResetError("gone in the middle")
            if one.id in self.refused:
                raise ValueError(f"{one.id}")
            self.taken.append(one.id)


def deliver(broker: Broker, batch: Sequence[Message], tries: Tries) -> tuple[Failure, ...]:
    async def run() -> tuple[Failure, ...]:
        return await Delivery(broker, tries, None, asyncio.Event(), random.Random(0)).deliver(batch)

    return asyncio.run(run())


@given(
    keys=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=12),
    refused=st.sets(st.integers(0, 11)),
    down=st.sets(st.integers(1, 30), max_size=10),
    attempts=st.integers(1, 3),
)
def test_all_but_poison_and_what_is_behind_it_is_taken_in_order(
    keys: list[str | None], refused: set[int], down: set[int], attempts: int
) -> None:
    batch = [message(number, key) for number, key in enumerate(keys)]
    broker = Broker(list(refused), list(down))
    failures = deliver(broker, batch, Tries(attempts, wait=AT_ONCE))
    failed = [failure.message.id for failure in failures]
    assert failed == sorted(failed)
    assert set(broker.taken) | set(failed) == set(range(len(batch)))
    for number, key in enumerate(keys):
        behind = key is not None and any(
            other in refused and keys[other] == key for other in range(number)
        )  # fmt: skip
        assert (number in failed) == (number in refused or behind)
    for failure in failures:
        assert failure.attempts in (0, attempts)
        assert (failure.message.id in refused) or failure.attempts == 0
    for key in "abc":
        first = [one for one in dict.fromkeys(broker.taken) if keys[one] == key]
        assert first == sorted(first)


def test_a_broker_that_is_down_blames_no_message() -> None:
    broker = Broker(down=range(1, 100))
    with pytest.raises(SinkDownError, match="down 7 times"):
        deliver(broker, [message(1, "a")], Tries(2, wait=AT_ONCE, down_attempts=7))
    assert broker.calls == 7


@pytest.mark.parametrize("count", [1, 3])
def test_a_publisher_that_is_set_up_wrongly_blames_no_message_and_is_not_asked_again(count: int) -> None:
    calls = []

    async def publish(batch: Sequence[Message]) -> None:
        calls.append(len(batch))
        raise ConfigurationError("no publisher confirms; switch them on")

    async def run() -> None:
        delivery = Delivery(publish, Tries(3, wait=AT_ONCE), None, asyncio.Event(), random.Random(0))
        await delivery.deliver([message(number, "a") for number in range(count)])

    with pytest.raises(ConfigurationError, match="switch them on"):
        asyncio.run(run())
    assert calls == [count]


def test_nothing_is_asked_for_nothing() -> None:
    broker = Broker()
    assert deliver(broker, [], Tries()) == ()
    assert broker.calls == 0


def test_each_trouble_is_told() -> None:
    heard: list[Event] = []
    with listening(heard.append):
        deliver(Broker(refused=[2], down=[1]), [message(1, "a"), message(2, "a")], Tries(1, wait=AT_ONCE))
    assert [event.name for event in heard] == ["outbox.sink_down", "outbox.one_at_a_time", "outbox.poison"]
    assert heard[2].get("message") == "outbox:2"


def test_a_wait_ends_when_it_is_time_to_stop() -> None:
    async def run() -> None:
        stop = asyncio.Event()
        delivery = Delivery(Broker(down=range(1, 100)), Tries(wait=Fixed(3000.0)), None, stop, random.Random(0))
        delivering = asyncio.create_task(delivery.deliver([message(1, "a")]))
        asyncio.get_running_loop().call_soon(stop.set)
        with pytest.raises(StoppedError):
            await asyncio.wait_for(delivering, 30)

    asyncio.run(run())
