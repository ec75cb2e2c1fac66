"""What a checker came to: it holds, it is broken, or there is not enough evidence; never a pass for want of evidence.

Prior art: the three-valued verdicts of Jepsen's checkers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from premortem.errors import PremortemError


class NotEnoughEvidenceError(PremortemError):
    """The judge must act: what was seen says nothing either way, so neither a pass nor a failure may come of it."""


class Answer(StrEnum):
    """The three answers, the better first."""

    HOLDS = "holds"
    UNKNOWN = "not enough evidence"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Judgement:
    """An `invariant` in words, the answer, and what was seen: for people, a line for each finding."""

    invariant: str
    answer: Answer
    evidence: str

    def check(self, check: Callable[[str, bool, str], object]) -> None:
        """Pass it on to `lab.check`. NotEnoughEvidenceError where there is none: the proof is then INCONCLUSIVE."""
        if self.answer is Answer.UNKNOWN:
            raise NotEnoughEvidenceError(f"{self.invariant}: {self.evidence}; let more happen before it is judged")
        check(self.invariant, self.answer is Answer.HOLDS, self.evidence)

    def __str__(self) -> str:
        return f"{self.invariant}: {self.answer}: {self.evidence}"
