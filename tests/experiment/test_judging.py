"""The verdict on every pair of sides: a table, and no side that is passed over."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from premortem.experiment.proof import prove
from premortem.model import Failure, FailureMode, Moment, Observation, Prediction, Variant, Verdict

P, S, I, N, M, G = Verdict  # noqa: E741 - the six, in their order, so that the table can be read
MODE = FailureMode("g", "s", "g/s.py")
HEALTHY = (Moment(0.0, "subject.called"), Moment(0.1, "subject.returned"))
STRUCK = (*HEALTHY, Moment(0.2, "fault.struck", "file: gone"))
PREDICTION = Prediction("violated", "one charge")
AS_PREDICTED, OTHERWISE = Failure("violated", "one charge", "2"), Failure("died", "killed by SIGKILL")
JUDGE = Failure("raised", "builtins.NameError", "lib", ("builtins.NameError",), "s.py:9 in scenario", who="judge")


# How a side went, and what was seen of it then.
SIDES: dict[str, Callable[[Variant], Observation]] = {
    "requirement missing": lambda variant: Observation(variant, missing="postgres is not available"),
    "missing and flawed": lambda variant: Observation(
        variant, missing="postgres is not available", flaw="left a process"
    ),
    "flawed": lambda variant: Observation(variant, STRUCK, AS_PREDICTED, flaw="left 1 process behind"),
    "judge crashed": lambda variant: Observation(variant, STRUCK, JUDGE),
    "never called": lambda variant: Observation(variant, (Moment(0.2, "fault.struck"),)),
    "failed before the fault": lambda variant: Observation(
        variant, (*HEALTHY, Moment(0.1, "subject.raised"), *STRUCK), AS_PREDICTED
    ),
    "failed while armed, and before that was told": lambda variant: Observation(
        variant,
        (*HEALTHY, Moment(0.1, "fault.armed"), Moment(0.2, "subject.raised"), Moment(0.3, "fault.struck")),
        AS_PREDICTED,
    ),
    "healthy only after the fault": lambda variant: Observation(
        variant, (Moment(0.0, "fault.struck"), *HEALTHY), AS_PREDICTED
    ),
    "no fault, survived": lambda variant: Observation(variant, HEALTHY),
    "no fault, failed": lambda variant: Observation(variant, HEALTHY, AS_PREDICTED),
    "survived": lambda variant: Observation(variant, STRUCK),
    "failed as predicted": lambda variant: Observation(variant, STRUCK, AS_PREDICTED),
    "failed otherwise": lambda variant: Observation(variant, STRUCK, OTHERWISE),
}


# The verdict when the broken one went so, the verdict when the fixed one did.
TABLE = {
    "requirement missing": (S, S),
    "missing and flawed": (S, S),
    "flawed": (I, I),
    "judge crashed": (I, I),
    "never called": (I, I),
    "failed before the fault": (I, I),
    "failed while armed, and before that was told": (P, G),
    "healthy only after the fault": (I, I),
    "no fault, survived": (I, I),
    "no fault, failed": (I, I),
    "survived": (N, P),
    "failed as predicted": (P, G),
    "failed otherwise": (M, G),
}


@pytest.mark.parametrize(("broken", "fixed"), list(itertools.product(SIDES, SIDES)))
def test_the_worse_side_decides(broken: str, fixed: str) -> None:
    proof = prove(MODE, PREDICTION, SIDES[broken]("broken"), SIDES[fixed]("fixed"), "command")
    assert proof.verdict is max(TABLE[broken][0], TABLE[fixed][1], key=lambda verdict: verdict.severity)
    assert proof.reason
    assert (proof.mode, proof.prediction, proof.command) == (MODE, PREDICTION, "command")
    assert (proof.broken.variant, proof.fixed.variant) == ("broken", "fixed")


def test_only_a_failure_as_predicted_beside_a_survival_is_proven() -> None:
    proven = [pair for pair in itertools.product(TABLE, TABLE) if TABLE[pair[0]][0] is TABLE[pair[1]][1] is P]
    as_predicted = ("failed as predicted", "failed while armed, and before that was told")
    assert sorted(proven) == [(failed, "survived") for failed in as_predicted]


@pytest.mark.parametrize(
    ("broken", "fixed", "reason"),
    [
        ("failed as predicted", "survived", "broken violated “one charge”: 2; fixed survived"),
        ("survived", "survived", "the fault struck and broken survived"),
        ("failed otherwise", "survived", "predicted that broken violates “one charge”, and it died: killed by SIGKILL"),
        ("failed as predicted", "failed otherwise", "fixed died: killed by SIGKILL"),
        ("failed as predicted", "judge crashed", "fixed: the judge raised NameError: lib (s.py:9 in scenario)"),
        ("judge crashed", "survived", "broken: the judge raised NameError"),
        ("no fault, failed", "survived", "broken: no fault struck; it violated “one charge”: 2"),
        ("never called", "survived", "broken: the subject was not seen healthy before the fault"),
        ("requirement missing", "requirement missing", "postgres is not available"),
        ("flawed", "flawed", "broken: left 1 process behind"),
        ("survived", "failed otherwise", "fixed died: killed by SIGKILL"),
    ],
)
def test_the_reason_is_that_of_the_worse_side(broken: str, fixed: str, reason: str) -> None:
    assert prove(MODE, PREDICTION, SIDES[broken]("broken"), SIDES[fixed]("fixed"), "c").reason.startswith(reason)


def test_without_a_prediction_nothing_is_proven() -> None:
    proof = prove(MODE, None, SIDES["failed as predicted"]("broken"), SIDES["survived"]("fixed"), "c")
    assert proof.verdict is M
