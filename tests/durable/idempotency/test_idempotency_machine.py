"""Any order of calls, errors, deaths, settlements and hours, in every store, beside a model of a few lines."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from premortem.durable import Idempotency, InFlightError, PayloadMismatchError, UnknownOutcomeError
from premortem.ports import ManualClock

_RUNS = itertools.count(1)
TTL_S, IN_FLIGHT_S = 50, 10
KEYS, PAYLOADS = st.sampled_from("abc"), st.integers(0, 1)


class Model:
    """What is known of a key: since when it counts, and what came of it (None: nobody knows)."""

    def __init__(self, payload: int, at: float, result: int | None) -> None:
        self.payload, self.at, self.result = payload, at, result


class Calls(RuleBasedStateMachine):
    keys: Any

    def __init__(self) -> None:
        super().__init__()
        self.clock, self.run_number = ManualClock(), next(_RUNS)
        store = self.keys.open() if not hasattr(self.keys, "shared") else self.keys.shared
        self.keys.shared = store
        self.once = Idempotency(store, ttl_s=TTL_S, in_flight_s=IN_FLIGHT_S, clock=self.clock)
        self.known: dict[str, Model] = {}
        self.numbers = itertools.count(1)

    def now(self) -> float:
        return self.clock.monotonic()

    def of(self, key: str) -> Model | None:
        model = self.known.get(key)
        return model if model and self.now() < model.at + TTL_S else None

    def name(self, key: str) -> str:
        return f"{self.run_number}-{key}"

    def expected(self, key: str, payload: int) -> type[Exception] | Model | None:
        model = self.of(key)
        if model is None:
            return None
        if model.payload != payload:
            return PayloadMismatchError
        if model.result is not None:
            return model
        return InFlightError if self.now() < model.at + IN_FLIGHT_S else UnknownOutcomeError

    @rule(key=KEYS, payload=PAYLOADS, end=st.sampled_from(["returns", "raises", "dies"]))
    def call(self, key: str, payload: int, end: str) -> None:
        expected, result = self.expected(key, payload), next(self.numbers)
        ran: list[int] = []

        def function(given: int) -> int:
            ran.append(given)
            if end != "returns":
                raise ValueError if end == "raises" else KeyboardInterrupt
            return result

        try:
            came: Any = self.once.run(self.name(key), payload, function)
        except (ValueError, KeyboardInterrupt):
            came = None
        except Exception as error:  # noqa: BLE001 - compared below
            came = type(error)
        assert ran == ([payload] if expected is None else [])
        if isinstance(expected, Model):
            assert came == expected.result
        elif expected is not None:
            assert came is expected
        elif end == "returns":
            assert came == result
            self.known[key] = Model(payload, self.now(), result)
        elif end == "dies" and not self.once.store.transactional:
            self.known[key] = Model(payload, self.now(), None)
        else:
            self.known.pop(key, None)

    @rule(key=KEYS, payload=PAYLOADS)
    def settle(self, key: str, payload: int) -> None:
        model, result = self.of(key), next(self.numbers)
        if model and model.result is None and self.now() < model.at + IN_FLIGHT_S:
            with pytest.raises(InFlightError):
                self.once.settle(self.name(key), payload, result)
        else:
            self.once.settle(self.name(key), payload, result)
            self.known[key] = Model(payload, self.now(), result)

    @rule(key=KEYS)
    def forget(self, key: str) -> None:
        model = self.of(key)
        if model and model.result is None and self.now() < model.at + IN_FLIGHT_S:
            with pytest.raises(InFlightError):
                self.once.forget(self.name(key))
        else:
            self.once.forget(self.name(key))
            self.known.pop(key, None)

    @rule(seconds=st.sampled_from([1, 5, 10, 30, 50]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        self.once.purge()

    @rule()
    def commit(self) -> None:
        self.keys.commit()

    def teardown(self) -> None:
        self.keys.commit()


def test_every_order_is_as_the_model_says(keys: Any) -> None:
    machine = type("Calls", (Calls,), {"keys": keys})
    examples = 60 if keys.kind.startswith("sqlite in") else 15  # an fsync for each step of the others
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=25, deadline=None,
            suppress_health_check=list(HealthCheck), derandomize=True,
        ),
    )  # fmt: skip
