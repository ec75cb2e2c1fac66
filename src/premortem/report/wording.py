"""What every report says in the same words: symbols, outcomes, how a run ended, what its exit code means."""

from __future__ import annotations

from datetime import datetime

from premortem.model import Failure, Observation, Proof, Run, Verdict

# A verdict is never told by colour alone.
SYMBOLS = {
    Verdict.PROVEN: "✓",
    Verdict.SKIPPED: "-",
    Verdict.INCONCLUSIVE: "?",
    Verdict.NOT_REPRODUCED: "○",
    Verdict.MISPREDICTED: "≠",
    Verdict.GUARD_FAILED: "✗",
}

_EXIT_CODES = {
    0: "everything that ran is proven",
    1: "a proof failed",
    3: "no proof failed, and not everything is proven: inconclusive or skipped",
}


def headline(run: Run) -> str:
    """The run in half a sentence."""
    if not run.proofs:
        return "No failure was put to the proof"
    proven = dict(run.counts).get(Verdict.PROVEN, 0)
    noun = "failure" if len(run.proofs) == 1 else "failures"
    return f"{proven} of {len(run.proofs)} {noun} proven"


def counts(run: Run) -> str:
    """How many came to each verdict: "4 PROVEN, 1 SKIPPED"."""
    return ", ".join(f"{number} {verdict}" for verdict, number in run.counts) or "0 proofs"


def exit_code(run: Run) -> str:
    """The exit code and its meaning."""
    return f"exit code {run.exit_code}: {_EXIT_CODES[run.exit_code]}"


def cut_short(run: Run) -> str:
    """Why the record is not the whole of the run; empty when it is."""
    if run.ended == "complete":
        return ""
    cause = run.ended or "cut off before it could say why"
    noun = "proof" if len(run.proofs) == 1 else "proofs"
    return f"This run did not complete: {cause}. It left {len(run.proofs)} {noun}; what did not run is not proven."


def prediction(proof: Proof) -> str:
    """What broken was predicted to do."""
    return f"broken {proof.prediction}" if proof.prediction else "nothing: the exhibit could not be read that far"


def prediction_in_brief(proof: Proof) -> str:
    """The same for a cell of a table: without modules."""
    return _without_modules(str(proof.prediction), proof.prediction.what) if proof.prediction else "nothing"


def in_brief(proof: Proof) -> str:
    """What happened, for a cell of a table: what the verdict already says is not said again."""
    match proof.verdict, proof.broken.failure, proof.fixed.failure:
        case Verdict.PROVEN, Failure() as failure, _:
            return _without_modules(str(failure), failure.what)
        case Verdict.MISPREDICTED, Failure() as failure, _:
            return f"broken {_without_modules(str(failure), failure.what)}"
        case Verdict.GUARD_FAILED, _, Failure() as failure:
            return f"fixed {_without_modules(str(failure), failure.what)}"
    return proof.reason


def _without_modules(told: str, qualified: str) -> str:
    """Of a qualified type its last name; an invariant, in words, stays as it is."""
    is_type = all(part.isidentifier() for part in qualified.split("."))
    return told.replace(qualified, qualified.rpartition(".")[2], 1) if is_type else told


def outcome(seen: Observation) -> str:
    """How one variant ended, in words, without its name."""
    if seen.missing:
        return f"did not run: {seen.missing}"
    if seen.flaw:
        return f"could not be judged: {seen.flaw}"
    if seen.failure is None:
        return "survived" if seen.strikes else "ended well, and no fault had struck"
    judge = "the judge " if seen.failure.who == "judge" else ""
    return f"{judge}{seen.failure}"


def to_blame(proof: Proof) -> Observation | None:
    """The side that the verdict speaks of; none where there is nothing to look into."""
    match proof.verdict:
        case Verdict.PROVEN | Verdict.SKIPPED:
            return None
        case Verdict.GUARD_FAILED:
            return proof.fixed
        case Verdict.INCONCLUSIVE if proof.reason.startswith("fixed:"):
            return proof.fixed
        case _:
            return proof.broken


def where(seen: Observation | None) -> str:
    """The innermost line of a side's failure; empty when it has none."""
    return seen.failure.where if seen is not None and seen.failure is not None else ""


def seconds(span_s: float) -> str:
    """A span for people: "0.42 s", "2 min 05 s"."""
    if span_s < 60:  # noqa: PLR2004 - a minute
        return f"{span_s:.2f} s"
    return f"{int(span_s // 60)} min {int(span_s % 60):02} s"


def date(started: str) -> str:
    """ISO 8601 for people; as it stands where it is something else."""
    try:
        return f"{datetime.fromisoformat(started):%d %B %Y, %H:%M:%S} UTC".lstrip("0")
    except ValueError:
        return started
