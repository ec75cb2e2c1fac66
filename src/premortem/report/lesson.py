"""The diff from broken to fixed: both under one name, so that only the lesson is left in it."""

from __future__ import annotations

import difflib
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from premortem.model import FailureMode, Variant

NAME = "subject"  # what a scenario calls either of them
Sign = Literal[" ", "-", "+", "@"]


@dataclass(frozen=True, slots=True)
class Change:
    """Consecutive lines of one sign: kept, taken out, put in; `@` stands for kept lines that were left out."""

    sign: Sign
    lines: tuple[str, ...]


def changes(mode: FailureMode, context: int = 3) -> tuple[Change, ...]:
    """What turns broken into fixed, with `context` kept lines around it; nothing where both read the same."""
    signed = _unified(mode, context)[2:]  # without the names of the two sides
    if signed and signed[0].startswith("@@ -1"):
        signed = signed[1:]  # nothing was left out before the first line
    return tuple(
        Change(_sign(sign), tuple("" if sign == "@" else line[1:] for line in lines))
        for sign, lines in groupby(signed, key=lambda line: line[0])
    )


def unified(mode: FailureMode, context: int = 3) -> str:
    """The same as a unified diff, which `patch` and every editor know."""
    return "".join(f"{line}\n" for line in _unified(mode, context))


def renamed(source: str, variant: Variant) -> str:
    """`source` with the variant's own name replaced by NAME: as a name, not in strings, comments or attributes."""
    lines = source.split("\n")
    try:
        hits = list(_names(source, variant))
    except (tokenize.TokenError, SyntaxError, UnicodeError):
        return source  # a piece of a file need not be Python by itself; then it is shown as it was written
    for row, column in reversed(hits):
        line = lines[row - 1]
        lines[row - 1] = line[:column] + NAME + line[column + len(variant) :]
    return "\n".join(lines)


def _names(source: str, name: str) -> Iterator[tuple[int, int]]:
    before = ""
    for token in tokenize.generate_tokens(io.StringIO(source, newline="").readline):
        if token.type == tokenize.NAME and token.string == name and before != ".":
            yield token.start
        before = token.string


def _unified(mode: FailureMode, context: int) -> list[str]:
    broken, fixed = renamed(mode.broken, "broken").split("\n"), renamed(mode.fixed, "fixed").split("\n")
    return list(difflib.unified_diff(broken, fixed, "broken", "fixed", n=context, lineterm=""))


def _sign(text: str) -> Sign:
    match text:
        case "-" | "+" | "@":
            return text
    return " "
