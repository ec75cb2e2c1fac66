"""What every store of idempotency keys has to do, in the caller's transaction or not."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from premortem.durable import (
    Idempotency,
    InFlightError,
    NothingDoneError,
    NotKeptError,
    PayloadMismatchError,
    UnknownOutcomeError,
)
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.ports import ManualClock


class Effect:
    """A function that counts, and does what it is told."""

    def __init__(self, result: Any = "done", error: BaseException | None = None) -> None:
        self.calls: list[Any] = []
        self.result, self.error = result, error

    def __call__(self, payload: Any) -> Any:
        self.calls.append(payload)
        if self.error is not None:
            raise self.error
        return self.result


def test_the_second_call_gets_the_first_ones_result(keys: Any) -> None:
    effect = Effect({"receipt": [1, 2.5, None, "ä"]})
    first = Idempotency(keys.open()).outcome("order-1", {"pence": 250}, effect)
    keys.commit()
    second = Idempotency(keys.open()).outcome("order-1", {"pence": 250}, effect)
    assert (first.value, first.replayed) == (effect.result, False)
    assert (second.value, second.replayed) == (effect.result, True)
    assert effect.calls == [{"pence": 250}]


def test_another_key_runs(keys: Any) -> None:
    once, effect = Idempotency(keys.open()), Effect()
    once.run("a", 1, effect)
    once.run("b", 1, effect)
    assert effect.calls == [1, 1]


def test_another_payload_under_the_same_key_is_refused(keys: Any) -> None:
    once, effect = Idempotency(keys.open()), Effect()
    once.run("a", {"pence": 250}, effect)
    with pytest.raises(PayloadMismatchError, match="'a' was used before with another payload"):
        once.run("a", {"pence": 2500}, effect)
    assert len(effect.calls) == 1


def test_the_first_caller_gets_what_the_others_will(keys: Any) -> None:
    once, effect = Idempotency(keys.open()), Effect((1, 2))
    assert once.run("a", 1, effect) == once.run("a", 1, effect) == [1, 2]


def test_the_key_is_free_after_an_error(keys: Any) -> None:
    once, effect = Idempotency(keys.open()), Effect()
    with pytest.raises(ZeroDivisionError):
        once.run("a", 1, Effect(error=ZeroDivisionError()))
    assert once.run("a", 2, effect) == "done"
    assert not once.pending()


def test_an_error_that_says_nothing_leaves_the_outcome_unknown(own_keys: Any, heard: list[Event]) -> None:
    clock = ManualClock()
    once = Idempotency(own_keys.open(), nothing_done=ValueError, in_flight_s=60, clock=clock)
    effect = Effect(error=TimeoutError())
    with pytest.raises(TimeoutError):
        once.run("a", 1, effect)
    with pytest.raises(InFlightError):
        once.run("a", 1, effect)
    clock.advance(61)
    with pytest.raises(UnknownOutcomeError, match="the outcome of 'a' is not known"):
        once.run("a", 1, effect)
    assert len(effect.calls) == 1
    assert "idempotency.unknown" in [event.name for event in heard]


def test_who_raises_nothing_done_frees_the_key_whatever_else_is_said(own_keys: Any) -> None:
    once = Idempotency(own_keys.open(), nothing_done=())
    with pytest.raises(NothingDoneError):
        once.run("a", 1, Effect(error=NothingDoneError("the till was closed")))
    assert once.run("a", 1, Effect()) == "done"


def test_in_flight_is_told_at_once_and_says_who_and_how_long(own_keys: Any) -> None:
    once, other = (Idempotency(own_keys.open(), in_flight_s=60) for _ in range(2))

    def nested(_: object) -> None:
        with pytest.raises(InFlightError, match=r"is being worked on by process .* until .* UTC"):
            other.run("a", 1, Effect())

    once.run("a", 1, nested)


def test_a_key_in_an_open_transaction_of_somebody_else_is_in_flight(opened_of: Any) -> None:
    keys = opened_of("postgres in a transaction")
    once, other = Idempotency(keys.open()), Idempotency(keys.open())
    once.run("a", 1, Effect("first"))
    with pytest.raises(InFlightError, match="in an open transaction"):
        other.run("a", 1, Effect("second"))
    keys.commit()
    assert other.run("a", 1, Effect("second")) == "first"


def test_what_is_rolled_back_has_never_happened(opened_of: Any) -> None:
    for kind in ("sqlite in a transaction", "postgres in a transaction"):
        keys = opened_of(kind)
        once, effect = Idempotency(keys.open()), Effect()
        once.run("a", 1, effect)
        keys.rollback()
        assert not once.outcome("a", 2, effect).replayed
        keys.commit()
        assert once.outcome("a", 2, effect).replayed


def test_a_call_waits_for_the_one_before(own_keys: Any) -> None:
    begun, end = threading.Event(), threading.Event()

    def slow(_: object) -> str:
        begun.set()
        assert end.wait(20)
        return "slow"

    first = Idempotency(own_keys.open())
    thread = threading.Thread(target=first.run, args=("a", 1, slow))
    thread.start()
    assert begun.wait(20)
    threading.Timer(0.05, end.set).start()
    assert Idempotency(own_keys.open(), wait_s=20).run("a", 1, Effect("mine")) == "slow"
    thread.join()


def test_a_wait_ends(own_keys: Any) -> None:
    once, other = (Idempotency(own_keys.open()) for _ in range(2))

    def nested(_: object) -> None:
        began = time.monotonic()
        with pytest.raises(InFlightError):
            other.run("a", 1, Effect(), wait_s=0.05)
        assert time.monotonic() - began >= 0.05

    once.run("a", 1, nested)


def test_a_key_is_forgotten_after_its_time(keys: Any) -> None:
    clock, effect = ManualClock(), Effect()
    once = Idempotency(keys.open(), ttl_s=100, in_flight_s=10, clock=clock)
    once.run("a", 1, effect)
    clock.advance(99)
    assert once.outcome("a", 1, effect).replayed
    clock.advance(1)
    assert not once.outcome("a", "another payload", effect).replayed


def test_again_runs_what_is_not_known(own_keys: Any) -> None:
    clock = ManualClock()
    once = Idempotency(own_keys.open(), on_unknown="again", in_flight_s=10, clock=clock)
    with pytest.raises(KeyboardInterrupt):
        once.run("a", 1, Effect(error=KeyboardInterrupt()))
    with pytest.raises(InFlightError):
        once.run("a", 1, Effect())
    clock.advance(10)
    assert once.run("a", 1, Effect("again")) == "again"


def test_who_was_overtaken_is_told_and_overwrites_nothing(own_keys: Any) -> None:
    clock = ManualClock()
    once, other = (Idempotency(own_keys.open(), on_unknown="again", in_flight_s=10, clock=clock) for _ in range(2))

    def slow(_: object) -> str:
        clock.advance(11)
        assert other.run("a", 1, Effect("faster")) == "faster"
        return "slower"

    with pytest.raises(NotKeptError, match="somebody else has begun anew") as raised:
        once.run("a", 1, slow)
    assert raised.value.result == "slower"
    assert once.run("a", 1, Effect()) == "faster"


def test_who_takes_too_long_and_is_alone_keeps_its_result(own_keys: Any) -> None:
    clock = ManualClock()
    once = Idempotency(own_keys.open(), in_flight_s=10, clock=clock)
    assert once.run("a", 1, lambda _: clock.advance(1000)) is None
    assert once.outcome("a", 1, Effect()).replayed


def test_an_unknown_outcome_is_listed_and_can_be_settled(own_keys: Any) -> None:
    clock = ManualClock()
    once = Idempotency(own_keys.open(), in_flight_s=10, clock=clock)
    for key in ("a", "b"):
        with pytest.raises(KeyboardInterrupt):
            once.run(key, 1, Effect(error=KeyboardInterrupt()))
    with pytest.raises(InFlightError):
        once.settle("a", 1, "it was done")
    with pytest.raises(InFlightError):
        once.forget("a")
    assert [(one.key, one.unknown) for one in once.pending()] == [("a", False), ("b", False)]
    clock.advance(10)
    assert [(one.key, one.unknown) for one in once.pending()] == [("a", True), ("b", True)]
    once.settle("a", 1, "it was done")
    once.forget("b")
    assert once.run("a", 1, Effect()) == "it was done"
    assert once.run("b", 1, Effect("it was not")) == "it was not"
    assert not once.pending()


@pytest.mark.parametrize("result", [object(), {1, 2}, b"bytes", "x" * 2000])
def test_a_result_that_cannot_be_kept_is_not_lost_in_silence(own_keys: Any, result: Any) -> None:
    once = Idempotency(own_keys.open(), most_bytes=1000)
    with pytest.raises(NotKeptError) as raised:
        once.run("a", 1, Effect(result))
    assert raised.value.result is result
    with pytest.raises(InFlightError):
        once.run("a", 1, Effect())


def test_in_a_transaction_the_effect_goes_with_a_result_that_cannot_be_kept(opened_of: Any) -> None:
    for kind in ("sqlite in a transaction", "postgres in a transaction"):
        once = Idempotency(opened_of(kind).open())
        with pytest.raises(ConfigurationError, match="cannot be kept"):
            once.run("a", 1, Effect(object()))
        assert once.run("a", 1, Effect()) == "done"


def test_coroutines(keys: Any) -> None:
    effect = Effect("done")

    async def coroutine(payload: Any) -> Any:
        await asyncio.sleep(0)
        return effect(payload)

    once = Idempotency(keys.open(), wait_s=20)

    async def both() -> list[Any]:
        calls = (once.run_async("a", 1, coroutine) for _ in range(1 if keys.kind.endswith("transaction") else 5))
        return await asyncio.gather(*calls)

    assert set(asyncio.run(both())) == {"done"}
    assert asyncio.run(once.outcome_async("a", 1, coroutine)).replayed
    assert len(effect.calls) == 1


def test_a_coroutine_that_is_cancelled_while_it_waits_holds_no_key(own_keys: Any) -> None:
    once, effect = Idempotency(own_keys.open()), Effect()

    async def story() -> None:
        async def never(_: object) -> None:
            raise AssertionError("it was cancelled before it could begin")

        task = asyncio.ensure_future(once.run_async("a", 1, never))
        await asyncio.sleep(0)  # the claim is under way in its thread
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(story())
    assert once.run("a", 1, effect, wait_s=20) == "done"  # its thread may still be giving the key back


def test_purge_removes_what_is_over_and_nothing_else(opened_of: Any) -> None:
    for kind in ("sqlite", "postgres", "sqlite in a transaction", "postgres in a transaction"):
        keys, clock = opened_of(kind), ManualClock()
        once = Idempotency(keys.open(), ttl_s=100, in_flight_s=10, clock=clock)
        for number in range(5):
            once.run(f"old-{number}", 1, Effect())
        clock.advance(50)
        once.run("new", 1, Effect())
        clock.advance(50)
        assert (once.purge(3), once.purge(), once.purge()) == (3, 2, 0)
        assert once.outcome("new", 1, Effect()).replayed


def test_old_keys_do_not_pile_up(own_keys: Any) -> None:
    clock = ManualClock()
    once = Idempotency(own_keys.open(), ttl_s=1, in_flight_s=1, clock=clock)
    for number in range(200):
        once.run(f"key-{number}", 1, Effect())
        clock.advance(1)
    assert once.purge() <= 16


@pytest.mark.parametrize("key", ["", "x" * 513, "a\nb", None, 7])
def test_a_key_that_is_none_is_refused(opened_of: Any, key: Any) -> None:
    with pytest.raises(ConfigurationError, match="idempotency key"):
        Idempotency(opened_of("sqlite").open()).run(key, 1, Effect())


@pytest.mark.parametrize("told", [
    {"ttl_s": 0}, {"ttl_s": True}, {"in_flight_s": 100, "ttl_s": 50}, {"wait_s": -1}, {"on_unknown": "maybe"},
    {"nothing_done": "Exception"}, {"most_bytes": 0},
])  # fmt: skip
def test_settings_that_make_no_sense_are_refused(opened_of: Any, told: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"Idempotency.{next(iter(told))}"):
        Idempotency(opened_of("sqlite").open(), **told)


def test_keys_may_hold_any_character(keys: Any) -> None:
    once = Idempotency(keys.open())
    for key in ("*", "ключ", "a'b\"c;--", "{x}", "../..", "%s"):
        once.run(key, 1, Effect(key))
        assert once.run(key, 1, Effect()) == key
