"""What was seen of one variant under its fault: the moments in order, and how it ended."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

Variant = Literal["broken", "fixed"]


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, `at_s` seconds after the variant's start."""

    at_s: float
    name: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a variant ended, when it did not end well.

    `what` is the qualified type, the invariant, the resource or the way of dying, by `kind`; `kinds` are the
    qualified names of a raised exception's classes, so that a prediction can name a base class. `who` is the
    subject, or the judge where the exhibit's own story broke. `where` is the innermost line of it.
    """

    kind: Literal["raised", "violated", "hung", "exhausted", "died"]
    what: str
    message: str = ""
    kinds: tuple[str, ...] = ()
    where: str = ""
    who: Literal["subject", "judge"] = "subject"

    def __str__(self) -> str:
        match self.kind:
            case "raised":
                return f"raised {self.what.removeprefix('builtins.')}: {self.message}".rstrip(": ")
            case "violated":
                return f"violated “{self.what}”" + (f": {self.message}" if self.message else "")
            case "hung":
                return self.message
            case "exhausted":
                return f"ran out of {self.what}" + (f": {self.message}" if self.message else "")
            case "died":
                return f"died: {self.what}"


@dataclass(frozen=True, slots=True)
class Observation:
    """One variant's run.

    `flaw` says what kept it from being judged at all (a part that is missing, a process left behind);
    `missing` the requirement that this machine lacks. `output` is the tail of what it printed.
    """

    variant: Variant
    timeline: tuple[Moment, ...] = ()
    failure: Failure | None = None
    flaw: str = ""
    missing: str = ""
    output: str = ""
    elapsed_s: float = 0.0

    @property
    def strikes(self) -> tuple[Moment, ...]:
        """What the injectors reported that they hit."""
        return tuple(moment for moment in self.timeline if moment.name == "fault.struck")

    @property
    def was_healthy(self) -> bool:
        """Whether the subject did its job at least once, and never failed, before the first fault.

        A fault may be armed long before it strikes, and what it strikes may be told a moment late.
        """
        names = [moment.name for moment in self.timeline]
        before = list(itertools.takewhile(lambda name: name not in ("fault.armed", "fault.struck"), names))
        return "subject.returned" in before and "subject.raised" not in before
