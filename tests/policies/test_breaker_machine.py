"""The table of the circuit breaker: complete, closed, and the page's diagram."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.policies.breaker_machine import (
    TRANSITIONS,
    Admitted,
    Circuit,
    Refused,
    Rules,
    Signal,
    State,
    asked,
    diagram,
    moved,
    probed,
    tripped,
)

PAGE = Path(__file__).parents[2] / "docs" / "policies" / "circuit-breaker.md"
RULES = Rules(recovery_s=10)
BY_HAND = (Signal.OPENED_BY_HAND, Signal.CLOSED_BY_HAND, Signal.ISOLATED_BY_HAND)


def test_what_the_table_does_not_name_cannot_happen() -> None:
    for pair in itertools.product(State, Signal):
        circuit = Circuit(state=pair[0])
        if pair in TRANSITIONS:
            assert moved(circuit, pair[1], RULES, 0.0).state is TRANSITIONS[pair]
        else:
            with pytest.raises(KeyError):
                moved(circuit, pair[1], RULES, 0.0)


def test_a_hand_works_in_every_state() -> None:
    assert {(state, signal) for state in State for signal in BY_HAND} <= set(TRANSITIONS)


def test_only_a_hand_that_closes_leads_out_of_isolation() -> None:
    out = [signal for (state, signal), target in TRANSITIONS.items() if state is State.ISOLATED is not target]
    assert out == [Signal.CLOSED_BY_HAND]


def test_every_transition_begins_a_new_era() -> None:
    for state, signal in TRANSITIONS:
        assert moved(Circuit(state=state, era=7), signal, RULES, 0.0).era == 8


def test_the_page_shows_the_table() -> None:
    assert f"```mermaid\n{diagram()}```\n" in PAGE.read_text()


def test_open_time_grows_with_each_opening_in_a_row_and_no_further_than_the_cap() -> None:
    rules = Rules(recovery_s=10, growth=2, recovery_cap_s=35)
    circuit, lasted = tripped(Circuit(), 0, rules, 0.0), []
    for _ in range(4):
        lasted.append(circuit.until - (circuit.opened_at or 0.0))
        half, admitted = asked(circuit, rules, circuit.until)
        assert isinstance(admitted, Admitted)
        circuit = probed(half, admitted, rules, circuit.until, succeeded=False)
    assert lasted == [10, 20, 35, 35]
    half, admitted = asked(circuit, rules, circuit.until)
    assert isinstance(admitted, Admitted)
    closed = probed(half, admitted, rules, 0.0, succeeded=True)
    again = tripped(closed, closed.era, rules, 0.0)
    assert again.until == 10


def test_a_window_of_an_older_era_opens_nothing() -> None:
    circuit = Circuit(era=5)
    assert tripped(circuit, 4, RULES, 0.0) is circuit
    assert tripped(circuit, 5, RULES, 0.0).state is State.OPEN


def test_a_million_openings_do_not_overflow() -> None:
    assert Rules(recovery_s=1, growth=10, recovery_cap_s=3600).open_s(1_000_000) == 3600


def test_a_lost_probe_frees_its_slot() -> None:
    rules = Rules(recovery_s=10, probe_limit_s=5)
    half, first = asked(tripped(Circuit(), 0, rules, 0.0), rules, 10.0)
    assert isinstance(first, Admitted)
    assert isinstance(asked(half, rules, 14.9)[1], Refused)
    half, second = asked(half, rules, 15.0)
    assert isinstance(second, Admitted)
    half = probed(half, first, rules, 16.0, succeeded=None)  # the lost one comes back: it takes nobody's place
    assert [number for number, _ in half.probes] == [second.probe]


@given(
    n=st.integers(1, 5), successes=st.integers(1, 5),
    told=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([True, None]), st.integers(-1, 0))),
)  # fmt: skip
def test_never_more_probes_than_allowed_and_an_older_era_changes_nothing(
    n: int, successes: int, told: list[tuple[int, bool | None, int]]
) -> None:
    rules = Rules(recovery_s=1, probes=n, successes=successes)
    circuit, out, good = tripped(Circuit(), 0, rules, 0.0), [], 0
    for which, outcome, older in told:
        circuit, answer = asked(circuit, rules, 2.0)
        if circuit.state is State.CLOSED:
            break
        if isinstance(answer, Admitted):
            out.append(answer)
        assert len(out) == len(circuit.probes) <= n
        one = out[which % len(out)]
        before = circuit
        circuit = probed(circuit, replace(one, era=one.era + older), rules, 2.0, succeeded=outcome)
        if older:
            assert circuit is before
            continue
        out.remove(one)
        good += outcome is True
        assert (circuit.state is State.CLOSED) == (good >= successes)
