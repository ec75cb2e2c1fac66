"""What a trial comes to: the end of the command, of the recovery, of the check; pure decisions.

Law: worst wins. A check that cannot start, does not end or is killed has not judged; and a check that fails although
nothing struck says that the subject is not steady, not that the fault did it.
"""

from __future__ import annotations

import itertools

from premortem.faults.sweep.source import Ended, Sighting
from premortem.model.sweep import Outcome

# What a shell says of a child that died of SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE or SIGSEGV.
_CRASHED = frozenset(128 + number for number in (4, 5, 6, 7, 8, 11))


def outcome_of(ended: Ended) -> Outcome:
    """What the end of the command alone comes to."""
    if ended.failed:
        return Outcome.UNJUDGED
    if not ended.strikes:
        return Outcome.UNSTRUCK
    if ended.timed_out:
        return Outcome.HANG
    if ended.killed or not ended.status:
        return Outcome.SURVIVED
    return Outcome.CRASH if ended.status < 0 or ended.status in _CRASHED else Outcome.ERROR


def worst(*outcomes: Outcome) -> Outcome:
    """The most severe."""
    return max(outcomes, key=lambda outcome: outcome.severity)


def difference(one: tuple[Sighting, ...], other: tuple[Sighting, ...]) -> str:
    """Where two clean runs part; empty where they do not."""
    for number, (left, right) in enumerate(itertools.zip_longest(one, other), 1):
        names = [str(seen.recipe) if seen else "nothing more" for seen in (left, right)]
        if names[0] != names[1]:
            return f"operation {number} was {names[0]} in one clean run and {names[1]} in the other"
    return ""


def recovered(outcome: Outcome, last: Ended) -> tuple[Outcome, str]:
    """What the recovery without a fault adds: whoever does not come back then has not survived."""
    if last.failed:
        return Outcome.UNJUDGED, f"the recovery {told(last)}"
    if last.timed_out:
        return worst(outcome, Outcome.HANG), f"the recovery {told(last)}"
    if last.status:
        return Outcome.VIOLATION, f"does not recover: {told(last)}"
    return outcome, ""


def checked(outcome: Outcome, complaint: str, check: Ended) -> tuple[Outcome, str]:
    """The last word."""
    if check.failed or check.timed_out or check.status < 0:
        return Outcome.UNJUDGED, f"the check {told(check)}"
    if not check.status:
        return outcome, complaint
    if outcome is Outcome.UNSTRUCK:
        return Outcome.UNJUDGED, f"nothing struck, and the check does not hold all the same: {told(check)}"
    if outcome is Outcome.UNJUDGED:
        return outcome, complaint
    return Outcome.VIOLATION, check.output.strip() or f"the check said nothing and ended with exit {check.status}"


def told(ended: Ended) -> str:
    """How it ended and what it printed last, for a sentence."""
    output = ended.output.strip()
    verb = "ended with " if ended.status >= 0 and not ended.failed else ""
    return f"{verb}{ended}" + (f": {output}" if output else "")
