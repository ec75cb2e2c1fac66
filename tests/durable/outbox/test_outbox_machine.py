"""Any order of writers, commits, rollbacks, relays and failures: every commit is published, and in order."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from premortem.durable.outbox import Message, Outbox, Pace, Relay, SinkDownError, Tries, create_tables, status
from premortem.policies.waits import Fixed

EVERY_POINT = bool(os.environ.get("PREMORTEM_EVERY_POINT"))
SCHEMA = "machine"
WRITERS = st.integers(0, 3)


class OutboxMachine(RuleBasedStateMachine):
    """Four writers with open transactions, a relay that is called now and then, and what has to come out of it."""

    url: str

    def __init__(self) -> None:
        super().__init__()
        with psycopg.connect(self.url) as connection:
            create_tables(connection, schema=SCHEMA, lanes=1)
            connection.execute("TRUNCATE machine.outbox")
        self.writers = [psycopg.connect(self.url) for _ in range(4)]
        self.open: list[list[tuple[int, str]]] = [[] for _ in range(4)]
        self.committed: dict[int, str] = {}
        self.published: list[Message] = []

    @rule(writer=WRITERS, keys=st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
    def write(self, writer: int, keys: list[str]) -> None:
        # As under a row lock: who writes a key that another open transaction has written would wait for it.
        if any(key in keys for other in range(4) if other != writer for _, key in self.open[other]):
            return
        ids = Outbox(self.writers[writer], schema=SCHEMA).add_many([("t", key, "x") for key in keys])
        self.open[writer] += zip(ids, keys, strict=True)

    @rule(writer=WRITERS)
    def begin(self, writer: int) -> None:
        """It has a number long before it writes."""
        self.writers[writer].execute("SELECT pg_current_xact_id()")

    @rule(writer=WRITERS)
    def commit(self, writer: int) -> None:
        self.writers[writer].commit()
        self.committed.update(self.open[writer])
        self.open[writer] = []

    @rule(writer=WRITERS)
    def roll_back(self, writer: int) -> None:
        self.writers[writer].rollback()
        self.open[writer] = []

    @rule(batch=st.integers(1, 4), retention_s=st.sampled_from([0.0, 3600.0]))
    def relay(self, batch: int, retention_s: float) -> None:
        asyncio.run(self._relay(self.take, batch, retention_s).drain())
        assert {message.id for message in self.published} == set(self.committed)

    @rule(batch=st.integers(1, 3), calls=st.integers(0, 2))
    def relay_that_dies(self, batch: int, calls: int) -> None:
        left = calls

        async def publish(messages: Sequence[Message]) -> None:
            nonlocal left
            if not left:
                raise ConnectionResetError
            left -= 1
            await self.take(messages)

        with suppress(SinkDownError):
            asyncio.run(self._relay(publish, batch, 0.0).drain())

    def _relay(self, publish: Any, batch: int, retention_s: float) -> Relay:
        pace, tries = Pace(batch=batch, retention_s=retention_s), Tries(wait=Fixed(0.0), down_attempts=1)
        return Relay(self.url, publish, schema=SCHEMA, pace=pace, tries=tries)

    async def take(self, messages: Sequence[Message]) -> None:
        self.published += messages

    @invariant()
    def only_commits_are_published_and_in_order(self) -> None:
        assert {message.id for message in self.published} <= set(self.committed)
        for key in "abc":
            first = list(dict.fromkeys(message.id for message in self.published if message.key == key))
            assert first == sorted(first)

    @invariant()
    def status_counts_what_waits(self) -> None:
        with psycopg.connect(self.url) as connection:
            depth = status(connection, schema=SCHEMA).depth
        waiting = set(self.committed) - {message.id for message in self.published}
        assert depth >= len(waiting)

    def teardown(self) -> None:
        for writer in self.writers:
            writer.close()
        asyncio.run(self._relay(self.take, 100, 0.0).drain())
        assert {message.id for message in self.published} == set(self.committed)


@pytest.fixture
def machine(url: str) -> type[OutboxMachine]:
    OutboxMachine.url = url
    return OutboxMachine


def test_any_order_of_events(machine: type[OutboxMachine]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=200 if EVERY_POINT else 10, stateful_step_count=25, deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40 if EVERY_POINT else 4))
def test_a_long_walk_at_random(machine: type[OutboxMachine], seed: int) -> None:
    """Hypothesis makes what fails short; what is rare wants many steps."""
    chance = random.Random(seed)
    walk: OutboxMachine = machine()
    for _ in range(300):
        step(walk, chance)
        walk.only_commits_are_published_and_in_order()
    walk.teardown()


def step(walk: OutboxMachine, chance: random.Random) -> None:
    """One of the machine's rules."""
    writer = chance.randrange(4)
    match chance.randrange(7):
        case 0 | 1:
            walk.write(writer, chance.choices("abc", k=chance.randint(1, 3)))
        case 2:
            walk.begin(writer)
        case 3:
            walk.commit(writer)
        case 4:
            walk.roll_back(writer)
        case 5:
            walk.relay(chance.randint(1, 4), chance.choice([0.0, 3600.0]))
        case _:
            walk.relay_that_dies(chance.randint(1, 3), chance.randint(0, 2))
