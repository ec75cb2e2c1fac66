"""One tree of errors, split by who must act.

Law: a message says the value, the rule it broke and the way out, in that order.
"""

from __future__ import annotations


class PremortemError(Exception):
    """Anything this package raises on purpose."""


class ConfigurationError(PremortemError):
    """The user must act: a setting, an argument or an exhibit is not what it has to be."""


class MissingRequirementError(PremortemError):
    """The machine's owner must act: something that was asked for is not to be had here.

    `name` is the requirement ("postgres"), `reason` why it is missing, `way_out` what to do about it.
    """

    def __init__(self, name: str, reason: str, way_out: str) -> None:
        super().__init__(name, reason, way_out)
        self.name = name
        self.reason = reason
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.name} is not available: {self.reason}; {self.way_out}"


class FaultError(PremortemError):
    """The injector must act: a fault could not be put in, or could not be taken out again."""


class WorkerDiedError(PremortemError):
    """The task must act: the process it ran in died before it could answer.

    `task` names the culprit; `cause` says how it died ("killed by SIGKILL", "exit status 3").
    """

    def __init__(self, task: str, cause: str) -> None:
        super().__init__(task, cause)
        self.task = task
        self.cause = cause

    def __str__(self) -> str:
        return f"the process of {self.task} died: {self.cause}"


class SubjectFailedError(PremortemError):
    """The subject must act: it did what a system must not do.

    Its three kinds serve twice: raised when it happens, and written as an exhibit's `PREDICTION`.
    """


class Violated(SubjectFailedError):  # noqa: N818 - reads as a sentence in an exhibit: PREDICTION = Violated("...")
    """An invariant does not hold: `Violated("charged twice")`."""

    def __init__(self, invariant: str, evidence: str = "") -> None:
        super().__init__(invariant, evidence)
        self.invariant = invariant
        self.evidence = evidence

    def __str__(self) -> str:
        return f"{self.invariant}: {self.evidence}" if self.evidence else self.invariant


class Hung(SubjectFailedError):  # noqa: N818 - as above: PREDICTION = Hung(after_s=2)
    """A call of the subject did not come back within `after_s` seconds."""

    def __init__(self, after_s: float) -> None:
        super().__init__(after_s)
        if not 0 < after_s <= 3600:  # noqa: PLR2004 - said in words
            raise ConfigurationError(
                f"Hung(after_s={after_s!r}): has to be above 0 and up to 3600; write Hung(after_s=2)"
            )
        self.after_s = after_s

    def __str__(self) -> str:
        return f"did not come back within {self.after_s:g} s"


class Exhausted(SubjectFailedError):  # noqa: N818 - as above: PREDICTION = Exhausted("memory")
    """A resource ran out: "memory", "processes"."""

    def __init__(self, resource: str, evidence: str = "") -> None:
        super().__init__(resource, evidence)
        self.resource = resource
        self.evidence = evidence

    def __str__(self) -> str:
        return f"ran out of {self.resource}" + (f": {self.evidence}" if self.evidence else "")
