"""The verdict: two observations against one prediction, the worst side wins. Pure; no process, no clock."""

from __future__ import annotations

from premortem.model import FailureMode, Observation, Prediction, Proof, Verdict

Judgement = tuple[Verdict, str]


def prove(
    mode: FailureMode, prediction: Prediction | None, broken: Observation, fixed: Observation, command: str
) -> Proof:
    """Judge both sides. The reason is that of the worse side, the broken one first."""
    verdict, reason = max(_judge_broken(broken, prediction), _judge_fixed(fixed), key=lambda side: side[0].severity)
    if verdict is Verdict.PROVEN:
        reason = f"broken {broken.failure}; fixed survived"
    return Proof(mode, verdict, reason, prediction, broken, fixed, command)


def _judge_broken(seen: Observation, prediction: Prediction | None) -> Judgement:
    if unjudged := _cannot_judge(seen):
        return unjudged
    if seen.failure is None:
        return Verdict.NOT_REPRODUCED, "the fault struck and broken survived: it is imaginary, or too weak"
    if prediction is None or not prediction.matches(seen.failure):
        return Verdict.MISPREDICTED, f"predicted that broken {prediction}, and it {seen.failure}"
    return Verdict.PROVEN, ""


def _judge_fixed(seen: Observation) -> Judgement:
    if unjudged := _cannot_judge(seen):
        return unjudged
    if seen.failure is not None:
        return Verdict.GUARD_FAILED, f"fixed {seen.failure}" + (
            f" ({seen.failure.where})" if seen.failure.where else ""
        )
    return Verdict.PROVEN, ""


def _cannot_judge(seen: Observation) -> Judgement | None:
    """Why this side says nothing either way, if so. A failure counts only after health and a strike."""
    if seen.missing:
        return Verdict.SKIPPED, seen.missing
    if seen.flaw:
        return Verdict.INCONCLUSIVE, f"{seen.variant}: {seen.flaw}"
    if seen.failure is not None and seen.failure.who == "judge":
        return Verdict.INCONCLUSIVE, f"{seen.variant}: the judge {seen.failure} ({seen.failure.where})"
    if not seen.was_healthy:
        return Verdict.INCONCLUSIVE, f"{seen.variant}: the subject was not seen healthy before the fault{_ended(seen)}"
    if not seen.strikes:
        return Verdict.INCONCLUSIVE, f"{seen.variant}: no fault struck{_ended(seen)}"
    return None


def _ended(seen: Observation) -> str:
    return f"; it {seen.failure}" if seen.failure is not None else ""
