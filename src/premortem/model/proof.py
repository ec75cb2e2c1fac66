"""The two-sided proof of one failure mode: both observations, and the verdict on them."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.model.failure_mode import FailureMode
from premortem.model.observation import Observation
from premortem.model.prediction import Prediction
from premortem.model.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Proof:
    """What was predicted, what was seen on both sides, and what it comes to, with the reason in words.

    `command` reproduces it. `prediction` is None where the exhibit could not be read that far.
    """

    mode: FailureMode
    verdict: Verdict
    reason: str
    prediction: Prediction | None
    broken: Observation
    fixed: Observation
    command: str

    @property
    def elapsed_s(self) -> float:
        """Seconds that both variants took together."""
        return self.broken.elapsed_s + self.fixed.elapsed_s
