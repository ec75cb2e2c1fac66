"""Any order of deaths, replays, surrenders and hours, in every store, beside a model of a few lines."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from premortem.durable import DeadLetter, DeadLetters, DeadLettersFullError
from premortem.ports import ManualClock

_RUNS = itertools.count(1)
MOST, LEASE_S = 4, 60
KEYS, REASONS = st.sampled_from("abcdef"), st.sampled_from(["x", "y"])


class Letters(RuleBasedStateMachine):
    box: Any

    def __init__(self) -> None:
        super().__init__()
        if not hasattr(self.box, "shared"):
            self.box.shared = self.box.open()
        self.clock = ManualClock()
        self.letters = DeadLetters(
            self.box.shared, f"run {next(_RUNS)}", most=MOST, lease_s=LEASE_S, clock=self.clock
        )  # fmt: skip
        self.model: dict[str, list[Any]] = {}  # key: state, reason, times, payload, taken at; in the order of arrival
        self.numbers = itertools.count(1)

    @rule(key=KEYS, why=REASONS)
    def die(self, key: str, why: str) -> None:
        payload = next(self.numbers)
        full = key not in self.model and len(self.model) >= MOST
        closed = [k for state in ("replayed", "discarded") for k, one in self.model.items() if one[0] == state]
        if full and not closed:
            try:
                self.letters.add(payload, why, key=key)
            except DeadLettersFullError:
                return
            raise AssertionError("it has grown beyond its bounds")
        if full:
            del self.model[closed[0]]
        before = self.model.get(key)
        letter = self.letters.add(payload, why, key=key)
        times = before[2] + 1 if before else 1
        assert (letter.times, letter.state) == (times, "dead")
        self.model[key] = ["dead", why, times, payload, 0.0]

    @rule(fails=st.sets(KEYS), dies_at=st.none() | KEYS, why=st.none() | REASONS)
    def replay(self, fails: set[str], dies_at: str | None, why: str | None) -> None:
        now = self.clock.monotonic()
        dead = [k for k, one in self.model.items() if one[0] == "dead"]
        left = [k for k, one in self.model.items() if one[0] == "replaying" and now >= one[4] + LEASE_S]
        expected = [k for k in dead + left if why in (None, self.model[k][1])]
        if dies_at in expected:
            expected = expected[: expected.index(dies_at) + 1]
        seen: list[str] = []

        def handle(letter: DeadLetter) -> None:
            seen.append(letter.key)
            assert letter.payload == self.model[letter.key][3]
            if letter.key == dies_at:
                raise KeyboardInterrupt
            if letter.key in fails:
                raise ValueError

        try:
            self.letters.replay(handle, why=why)
        except KeyboardInterrupt:
            assert dies_at in expected
        assert seen == expected
        for key in expected:
            if key == dies_at:
                if not self.letters.store.transactional:
                    self.model[key][0], self.model[key][4] = "replaying", now
            else:
                self.model[key][0] = "dead" if key in fails else "replayed"

    @rule(key=KEYS)
    def discard(self, key: str) -> None:
        one = self.model.get(key)
        may = one is not None and (
            one[0] == "dead" or (one[0] == "replaying" and self.clock.monotonic() >= one[4] + LEASE_S)
        )
        assert self.letters.discard(key, "enough") == may
        if may and one:
            one[0] = "discarded"

    @rule(seconds=st.sampled_from([1, 30, 60]))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def commit(self) -> None:
        self.box.commit()

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        for state in ("dead", "replayed", "discarded", "replaying"):
            found = [(one.key, one.why, one.times, one.payload) for one in self.letters.letters(state)]
            assert found == [(k, *one[1:4]) for k, one in self.model.items() if one[0] == state]

    def teardown(self) -> None:
        self.box.commit()


def test_every_order_is_as_the_model_says(box: Any) -> None:
    run_state_machine_as_test(
        type("Letters", (Letters,), {"box": box}),
        settings=settings(
            max_examples=40 if box.kind.startswith("sqlite in") else 12, stateful_step_count=20, deadline=None,
            suppress_health_check=list(HealthCheck), derandomize=True,
        ),
    )  # fmt: skip
