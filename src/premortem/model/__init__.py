"""The frozen nouns: what every part hands to the next, left to right with no way back."""

from premortem.model.failure_mode import FailureMode
from premortem.model.observation import Failure, Moment, Observation, Variant
from premortem.model.prediction import Prediction
from premortem.model.proof import Proof
from premortem.model.run import Run
from premortem.model.verdict import Verdict

__all__ = [
    "Failure",
    "FailureMode",
    "Moment",
    "Observation",
    "Prediction",
    "Proof",
    "Run",
    "Variant",
    "Verdict",
]
