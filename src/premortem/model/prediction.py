"""How the broken variant has to fail, said beforehand: any other failure proves nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from premortem.errors import ConfigurationError, Exhausted, Hung, Violated
from premortem.model.observation import Failure

Kind = Literal["raised", "violated", "hung", "exhausted"]


# An exhibit is imported from its file under this and its stem, so that it shadows nobody's module.
EXHIBIT_MODULE = "premortem_exhibit_"
# What any failure would match proves nothing; the last three are written as instances.
_TOO_WIDE = (BaseException, Exception, Violated, Hung, Exhausted)


@dataclass(frozen=True, slots=True)
class Prediction:
    """A failure named beforehand.

    `what` is the qualified name of an exception type, an invariant, or a resource, by `kind`;
    `after_s` is set for a hang alone, in seconds.
    """

    kind: Kind
    what: str = ""
    after_s: float | None = None

    @classmethod
    def of(cls, value: object) -> Prediction:
        """Read what an exhibit wrote as its PREDICTION: an exception type, `Violated`, `Hung` or `Exhausted`."""
        match value:
            case Violated():
                return cls("violated", value.invariant)
            case Hung():
                return cls("hung", after_s=value.after_s)
            case Exhausted():
                return cls("exhausted", value.resource)
            case type() if issubclass(value, BaseException) and value not in _TOO_WIDE:
                return cls("raised", qualified_name(value))
        raise ConfigurationError(
            f"PREDICTION = {value!r}: has to say how broken() fails, and not that it does; write a type (KeyError), "
            'Violated("what no longer holds"), Hung(after_s=2) or Exhausted("memory")'
        )

    def matches(self, failure: Failure) -> bool:
        """Whether `failure` is the one that was predicted; a subclass of a predicted exception is."""
        if self.kind != failure.kind:
            return False
        if self.kind == "raised":
            return self.what in failure.kinds
        return self.kind == "hung" or self.what == failure.what

    def __str__(self) -> str:
        match self.kind:
            case "raised":
                return f"raises {self.what.removeprefix('builtins.')}"
            case "violated":
                return f"violates “{self.what}”"
            case "hung":
                return f"hangs for more than {self.after_s:g} s"
            case "exhausted":
                return f"runs out of {self.what}"


def qualified_name(kind: type) -> str:
    """The name under which a type is compared between processes; an exhibit's own types have no module but its file."""
    own = kind.__module__.startswith(EXHIBIT_MODULE)
    return kind.__qualname__ if own else f"{kind.__module__}.{kind.__qualname__}"
