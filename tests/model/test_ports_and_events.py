"""Time and randomness that come in by argument; the one channel by which code says what happened."""

from __future__ import annotations

import contextvars
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.events import Event, emit, listening
from premortem.ports import ManualClock, SystemClock, derived_seed, seeded


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(datetime(2026, 3, 1, tzinfo=UTC))
    assert (clock.now(), clock.monotonic()) == (datetime(2026, 3, 1, tzinfo=UTC), 0.0)
    clock.advance(90)
    clock.advance(0)
    assert clock.now() - datetime(2026, 3, 1, tzinfo=UTC) == timedelta(seconds=90)
    assert clock.monotonic() == 90
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_the_system_clock_is_in_utc_and_never_goes_back() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() <= clock.monotonic()


def test_a_seed_is_the_same_on_every_machine() -> None:
    assert derived_seed(42, "ingest/missing-file") == 2245544992254812803
    assert seeded(1, "a").random() == seeded(1, "a").random()


@given(st.integers(0, 2**63), st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_every_part_of_a_run_has_a_seed_of_its_own(seed: int, one: list[str], other: list[str]) -> None:
    names = ["\0".join(one), "\0".join(other)]
    assert (derived_seed(seed, *one) == derived_seed(seed, *other)) == (
        names[0] == names[1] and bool(one) == bool(other)
    )


def test_whoever_listens_hears_in_order_and_nobody_else_does() -> None:
    outer: list[Event] = []
    inner: list[Event] = []
    emit("before")
    with listening(outer.append):
        emit("one", port=5432, why=None)
        with listening(inner.append):
            emit("two")
    emit("after")
    assert [event.name for event in outer] == ["one", "two"]
    assert [event.name for event in inner] == ["two"]
    assert outer[0].fields == (("port", 5432), ("why", None))
    assert (outer[0].get("port"), outer[0].get("nothing", "default")) == (5432, "default")


def test_listeners_go_when_the_block_ends_badly() -> None:
    heard: list[Event] = []
    with pytest.raises(ZeroDivisionError), listening(heard.append):
        _ = 1 / 0
    emit("after")
    assert heard == []


def test_a_thread_hears_only_in_a_copy_of_the_context() -> None:
    heard: list[Event] = []
    with listening(heard.append):
        copied = contextvars.copy_context()
        for thread in (
            threading.Thread(target=emit, args=("deaf",)),
            threading.Thread(target=copied.run, args=(emit, "heard")),
        ):
            thread.start()
            thread.join()
    assert [event.name for event in heard] == ["heard"]
