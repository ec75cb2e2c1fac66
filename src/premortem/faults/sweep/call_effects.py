"""What a struck call does instead: `raise TimeoutError`, `delay 0.5`, `return None`.

raise NAME [MESSAGE]   an exception by its name, with its module unless it is a built-in one
delay SECONDS          the call takes place, so many seconds late
return LITERAL         the call does not take place (at the moment `after`: it does), and this is its answer
"""

from __future__ import annotations

import ast
import builtins
import importlib
import math
from dataclasses import dataclass
from typing import Literal

from premortem.errors import ConfigurationError

DEFAULT = "raise ConnectionError"
_EXAMPLES = "write 'raise TimeoutError', 'raise psycopg.OperationalError', 'delay 0.5' or 'return None'"


@dataclass(frozen=True, slots=True)
class CallEffect:
    """One of the three; `seconds` of a delay, `value` of a return, `exception` and `message` of a raise."""

    kind: Literal["raise", "delay", "return"]
    exception: str = ""
    message: str = ""
    seconds: float = 0.0
    value: object = None

    @classmethod
    def parse(cls, text: str) -> CallEffect:
        """Read one; empty is the default. ConfigurationError says what does not fit."""
        kind, _, rest = (text or DEFAULT).partition(" ")
        match kind:
            case "raise" if rest:
                name, _, message = rest.strip().partition(" ")
                return cls("raise", exception=name, message=message)
            case "delay":
                return cls("delay", seconds=_seconds(text, rest))
            case "return":
                return cls("return", value=_literal(text, rest))
        raise ConfigurationError(f"effect {text!r} of a call: has to raise, delay or return; {_EXAMPLES}")

    def make(self, recipe: str) -> BaseException:
        """The exception to raise. ConfigurationError where its name is none."""
        kind = _exception(self.exception)
        message = self.message or f"made up by {recipe}"
        try:
            return kind(message)
        except TypeError:  # one that wants more arguments than a message
            return kind.__new__(kind)


def _seconds(text: str, rest: str) -> float:
    try:
        seconds = float(rest)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= 3600:  # noqa: PLR2004 - said in words
        raise ConfigurationError(f"effect {text!r}: a delay has to be from 0 to 3600 seconds; {_EXAMPLES}")
    return seconds


def _literal(text: str, rest: str) -> object:
    try:
        return ast.literal_eval(rest.strip())
    except (ValueError, SyntaxError):
        raise ConfigurationError(f"effect {text!r}: what is returned has to be a Python literal; {_EXAMPLES}") from None


def _exception(name: str) -> type[BaseException]:
    module, _, last = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module) if module else builtins, last, None)
    except ImportError:
        found = None
    if isinstance(found, type) and issubclass(found, BaseException):
        return found
    raise ConfigurationError(f"{name!r}: is no exception that can be imported; {_EXAMPLES}")
