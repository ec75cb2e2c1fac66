"""A sweep in words, the same in every form: symbols, headline, what is missing, what its exit code means."""

from __future__ import annotations

import itertools

from premortem.model.sweep import Outcome, OutcomeClass, Sweep

# An outcome is never told by colour alone.
SYMBOLS = {
    Outcome.SURVIVED: "✓",
    Outcome.UNSTRUCK: "-",
    Outcome.UNJUDGED: "?",
    Outcome.ERROR: "○",
    Outcome.HANG: "∞",
    Outcome.CRASH: "†",
    Outcome.VIOLATION: "✗",
}
_EXIT_CODES = {0: "nothing wrong was found", 1: "a violation, a crash or a hang was found", 3: "inconclusive"}


def headline(sweep: Sweep) -> str:
    """The sweep in half a sentence."""
    if not sweep.trials:
        return "No fault was tried"
    told = dict(sweep.counts)
    wrong = [f"{told[outcome]} {_plural(outcome, told[outcome])}" for outcome in sweep.wrong]
    trials = f"{len(sweep.trials)} {'fault' if len(sweep.trials) == 1 else 'faults'}"
    return f"{' and '.join(wrong) if wrong else 'nothing wrong'} under {trials}"


def _plural(outcome: Outcome, number: int) -> str:
    name = outcome.value.lower()
    return name if number == 1 else name + ("es" if name.endswith("h") else "s")


def counts(sweep: Sweep) -> str:
    """How many came to each outcome: "3 VIOLATION, 20 SURVIVED"."""
    return ", ".join(f"{number} {outcome}" for outcome, number in sweep.counts) or "0 trials"


def clean(sweep: Sweep) -> str:
    """The run without a fault, in words."""
    if sweep.clean is None:
        return "not measured"
    steady = "twice the same" if not sweep.clean.differs else f"NOT the same twice: {sweep.clean.differs}"
    return f"{sweep.clean.operations} operations in {sweep.clean.elapsed_s:.2f} s, {steady}"


def lacks(sweep: Sweep) -> list[str]:
    """What a reader has to know before believing it: what did not run, did not strike, was not judged."""
    counted = dict(sweep.counts)
    told = [sweep.inconclusive] if sweep.inconclusive else []
    if caution := shared(sweep):
        told.append(caution)
    if sweep.left_out:
        told.append(f"the budget left out {sweep.left_out} of {sweep.points} points; what did not run is not known")
    if sweep.trials and (unstruck := counted.get(Outcome.UNSTRUCK, 0)):
        told.append(f"{unstruck} of {len(sweep.trials)} faults did not strike: their operation did not take place")
    return told


def shared(sweep: Sweep) -> str:
    """A caution where trials at the same time meet in one server; empty where none is seen."""
    options = sweep.arguments[: sweep.arguments.index("--")] if "--" in sweep.arguments else ()
    sockets = any(name == "--watch" and "socket" in value.split(",") for name, value in itertools.pairwise(options))
    if sweep.jobs == 1 or not (sockets or "--wire" in options):
        return ""
    return (
        f"{sweep.jobs} trials at a time use the same server: where one's setup undoes what another's check looks for,"
        " violations are missed or made up; say --jobs 1, or give each trial a place of its own there, named after"
        " PREMORTEM_SWEEP_FOLDER"
    )


def exit_code(sweep: Sweep) -> str:
    """The exit code and its meaning."""
    return f"exit code {sweep.exit_code}: {_EXIT_CODES[sweep.exit_code]}"


def what_happened(one: OutcomeClass) -> str:
    """The class in one sentence: how the command ended, and what the check said."""
    return f"{one.first.ended}; {one.first.gist}" if one.first.evidence else one.first.ended
