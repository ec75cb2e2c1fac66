"""The six verdicts, and the order in which the worst of them wins."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Verdict(StrEnum):
    """What a proof came to, from the best to the worst: the order of the members is the order of severity."""

    PROVEN = "PROVEN"
    SKIPPED = "SKIPPED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_REPRODUCED = "NOT_REPRODUCED"
    MISPREDICTED = "MISPREDICTED"
    GUARD_FAILED = "GUARD_FAILED"

    @property
    def severity(self) -> int:
        """0 for PROVEN, more for worse."""
        return list(Verdict).index(self)

    @property
    def meaning(self) -> str:
        """One line for people who see the word for the first time."""
        return _MEANING[self]


_MEANING = {
    Verdict.PROVEN: "broken failed as predicted, fixed survived",
    Verdict.SKIPPED: "a named requirement is missing",
    Verdict.INCONCLUSIVE: "no fault struck, the subject was not healthy before, or the judge itself failed",
    Verdict.NOT_REPRODUCED: "the fault struck and broken survived",
    Verdict.MISPREDICTED: "broken failed, but otherwise than predicted",
    Verdict.GUARD_FAILED: "fixed failed too",
}


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The most severe of `verdicts`; of none, INCONCLUSIVE: nothing that ran is nothing that was proven."""
    return max(verdicts, key=lambda verdict: verdict.severity, default=Verdict.INCONCLUSIVE)
