"""The order of verdicts, and what a shell is told: never 0 when nothing was proven."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from premortem.model import FailureMode, Observation, Proof, Run, Verdict
from premortem.model.verdict import worst

COMPLETE = Run("r", "2026-01-01T00:00:00+00:00", seed=1, jobs=1, ended="complete")


def proof(verdict: Verdict) -> Proof:
    broken, fixed = Observation("broken", elapsed_s=1.0), Observation("fixed", elapsed_s=0.5)
    return Proof(FailureMode("g", "s", "g/s.py"), verdict, "why", None, broken, fixed, "premortem prove g/s.py")


def run_of(*verdicts: Verdict, ended: str = "complete") -> Run:
    return replace(COMPLETE, proofs=tuple(map(proof, verdicts)), ended=ended)


def test_severity_is_the_order_of_the_members() -> None:
    names = ["PROVEN", "SKIPPED", "INCONCLUSIVE", "NOT_REPRODUCED", "MISPREDICTED", "GUARD_FAILED"]
    assert [verdict.name for verdict in Verdict] == names
    assert [verdict.severity for verdict in Verdict] == list(range(6))


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations_with_replacement(Verdict, 2)))
def test_the_worse_of_two_wins_in_any_order(one: Verdict, other: Verdict) -> None:
    assert worst([one, other]) is worst([other, one]) is other


def test_of_nothing_the_worst_is_inconclusive() -> None:
    assert worst([]) is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict_has_a_meaning_in_words(verdict: Verdict) -> None:
    assert verdict.meaning


@pytest.mark.parametrize(
    ("verdict", "code"),
    [
        (Verdict.PROVEN, 0),
        (Verdict.SKIPPED, 3),
        (Verdict.INCONCLUSIVE, 3),
        (Verdict.NOT_REPRODUCED, 1),
        (Verdict.MISPREDICTED, 1),
        (Verdict.GUARD_FAILED, 1),
    ],
)
def test_the_exit_code_is_that_of_the_worst_proof(verdict: Verdict, code: int) -> None:
    assert run_of(verdict).exit_code == code
    assert run_of(Verdict.PROVEN, verdict, Verdict.PROVEN).exit_code == code


@pytest.mark.parametrize("ended", ["complete", "", "cut off by KeyboardInterrupt"])
def test_a_run_in_which_nothing_ran_never_exits_with_0(ended: str) -> None:
    assert run_of(ended=ended).exit_code == 3


@pytest.mark.parametrize("ended", ["", "cut off by Terminated: 143"])
def test_a_run_that_was_cut_off_never_exits_with_0(ended: str) -> None:
    run = run_of(Verdict.PROVEN, ended=ended)
    assert (run.verdict, run.exit_code) == (Verdict.INCONCLUSIVE, 3)
    assert run_of(Verdict.GUARD_FAILED, ended=ended).exit_code == 1


@given(st.lists(st.sampled_from(Verdict)), st.sampled_from(["complete", "", "cut off"]))
def test_0_means_complete_and_everything_proven_and_something_ran(verdicts: list[Verdict], ended: str) -> None:
    proven = ended == "complete" and bool(verdicts) and set(verdicts) == {Verdict.PROVEN}
    assert (run_of(*verdicts, ended=ended).exit_code == 0) == proven


def test_counts_go_from_the_best_to_the_worst_without_zeros() -> None:
    run = run_of(Verdict.GUARD_FAILED, Verdict.PROVEN, Verdict.PROVEN, Verdict.SKIPPED)
    assert run.counts == ((Verdict.PROVEN, 2), (Verdict.SKIPPED, 1), (Verdict.GUARD_FAILED, 1))


def test_a_proof_takes_as_long_as_both_variants() -> None:
    assert proof(Verdict.PROVEN).elapsed_s == 1.5
