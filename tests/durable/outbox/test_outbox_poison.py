"""A message that cannot be published: its key stops there, or it goes to the dead letters; other keys go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from premortem.durable.outbox import Message, Pace, TooManyParkedError, Tries, discard, parked, release, status
from premortem.policies.waits import Fixed

Write = Callable[..., list[int]]
Drain = Callable[..., int]

QUICK = Tries(attempts=2, wait=Fixed(0.001))


class Picky(list[Message]):
    """Refuses what it is told to refuse; a batch up to there is taken, as a broker would."""

    def __init__(self) -> None:
        super().__init__()
        self.refused: set[int] = set()

    async def __call__(self, batch: Sequence[Message]) -> None:
        for message in batch:
            if message.id in self.refused:
                raise ValueError(f"{message.id} is malformed")
            self.append(message)

    def of(self, key: str) -> list[int]:
        """First arrivals of a key."""
        return list(dict.fromkeys(message.id for message in self if message.key == key))


@pytest.fixture
def picky() -> Picky:
    return Picky()


def test_a_key_stops_at_its_poison_and_the_others_go_on(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    a1, b1, a2, b2, a3 = write(*"ababa")
    picky.refused = {a2}
    assert drain(picky, tries=QUICK) == 3
    assert (picky.of("a"), picky.of("b")) == ([a1], [b1, b2])
    a4, b3 = write(*"ab")
    drain(picky, tries=QUICK)
    assert (picky.of("a"), picky.of("b")) == ([a1], [b1, b2, b3])
    kept = parked(connection)
    assert [(one.id, one.key, one.attempts) for one in kept] == [(a2, "a", 2), (a3, "a", 0), (a4, "a", 0)]
    assert kept[0].why == f"ValueError: {a2} is malformed"
    assert status(connection).parked == 3
    assert status(connection).depth == 0


def test_what_is_released_goes_before_what_is_newer(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    written = write(*"aaa")
    picky.refused = {written[0]}
    drain(picky, tries=QUICK)
    written += write(*"aa")
    picky.refused = set()
    with connection.transaction():
        assert release(connection, key="a") == 3
    written += write(*"aa")
    assert drain(picky, tries=QUICK) == 7
    assert picky.of("a") == written
    assert parked(connection) == ()


def test_what_fails_again_holds_its_key_again(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    first, *behind = write(*"aaa")
    picky.refused = {first}
    drain(picky, tries=QUICK)
    with connection.transaction():
        release(connection)
    assert drain(picky, tries=QUICK) == 0
    assert [(one.id, one.attempts, one.released) for one in parked(connection)] == [
        (first, 4, False), *((one, 0, False) for one in behind),
    ]  # fmt: skip


def test_what_is_discarded_frees_what_is_behind_it(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    first, *behind = write(*"aaa")
    picky.refused = {first}
    drain(picky, tries=QUICK)
    with connection.transaction():
        assert discard(connection, first)
        assert not discard(connection, first)
    assert drain(picky, tries=QUICK) == 2
    assert picky.of("a") == behind


def test_a_message_without_a_key_stops_nobody(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    written = write(*[None] * 20)
    picky.refused = {written[3], written[11]}
    assert drain(picky, tries=QUICK) == 18
    assert [one.id for one in parked(connection)] == [written[3], written[11]]
    connection.rollback()
    with connection.transaction():
        assert release(connection, id_=written[3]) == 1
    picky.refused = set()
    assert drain(picky, tries=QUICK) == 1


def test_dead_letters_take_the_poison_and_the_key_goes_on(write: Write, drain: Drain, picky: Picky) -> None:
    a1, a2, a3, b1 = write(*"aaab")
    picky.refused = {a2}
    dead: list[tuple[int, str, int]] = []

    def dead_letter(message: Message, error: Exception, attempts: int) -> None:
        dead.append((message.id, str(error), attempts))

    assert drain(picky, tries=QUICK, dead_letter=dead_letter) == 4
    assert dead == [(a2, f"{a2} is malformed", 2)]
    assert (picky.of("a"), picky.of("b")) == ([a1, a3], [b1])


def test_dead_letters_that_are_down_are_tried_again(write: Write, drain: Drain, picky: Picky) -> None:
    (poison,) = write("a")
    picky.refused = {poison}
    dead: list[int] = []

    async def dead_letter(message: Message, _: Exception, __: int) -> None:
        dead.append(message.id)
        if len(dead) < 3:
            raise RuntimeError("disk full")

    drain(picky, tries=Tries(attempts=1, wait=Fixed(0.001), down_attempts=5), dead_letter=dead_letter)
    assert dead == [poison] * 3


def test_a_batch_that_fails_for_no_message_s_fault_goes_through_one_at_a_time(write: Write, drain: Drain) -> None:
    written = write(*"abab")
    seen: list[int] = []

    async def small_only(batch: Sequence[Message]) -> None:
        if len(batch) > 1:
            raise RuntimeError("too many at once")
        seen.extend(message.id for message in batch)

    assert drain(small_only, tries=QUICK) == 4
    assert sorted(seen) == written


def test_parked_messages_are_not_let_grow_in_silence(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any]
) -> None:
    picky.refused = set(write(*"abcdefgh"))
    with pytest.raises(TooManyParkedError, match="parked_most is 3"):
        drain(picky, tries=QUICK, pace=Pace(parked_most=3))
    assert len(parked(connection)) <= 3
    connection.rollback()
    picky.refused = set()
    with connection.transaction():
        release(connection)
    assert drain(picky, tries=QUICK) == 8


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_poison_in_any_place_of_any_batch(
    write: Write, drain: Drain, picky: Picky, connection: psycopg.Connection[Any], batch: int
) -> None:
    written = write(*"abcabcabcabc")
    picky.refused = {written[0], written[5], written[10]}
    drain(picky, tries=QUICK, pace=Pace(batch=batch))
    assert (picky.of("a"), picky.of("b"), picky.of("c")) == ([], [written[1], written[4], written[7]], [written[2]])
    picky.refused = set()
    with connection.transaction():
        release(connection)
    drain(picky, tries=QUICK, pace=Pace(batch=batch))
    for place, key in enumerate("abc"):
        assert picky.of(key) == written[place::3]
