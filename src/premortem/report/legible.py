r"""Foreign text made fit to be shown: nothing in it can steer a terminal, break a document or reorder a line.

Law: what cannot be shown as it is, is shown as its escape (`\x00`), so that it is seen and not silently lost.
Sequences that only colour are left out: they say nothing. Markup is the business of each form's own escaping.
"""

from __future__ import annotations

import re

# CSI, OSC and the two-character sequences of ECMA-48.
_STEERING = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
# C0 and C1 controls, marks that reorder a line (the "Trojan Source" characters), lone surrogates, and the two
# code points that XML 1.0 forbids on top.
_UNSHOWN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
ELLIPSIS = "…"


def legible(text: str) -> str:
    """`text` with line ends as line feeds, without terminal sequences, and everything else unshown as an escape."""
    text = _STEERING.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return _UNSHOWN.sub(_escape, text)


def one_line(text: str, longest: int = 300) -> str:
    """`text` legible, on one line of at most `longest` characters."""
    line = " ".join(legible(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + ELLIPSIS


def tail(text: str, lines: int, characters: int) -> str:
    """The end of `text`, legible: that is where a program says what became of it."""
    shown = legible(text).strip("\n")
    end = "\n".join(shown.split("\n")[-lines:])[-characters:]
    return end if len(end) == len(shown) else f"{ELLIPSIS}\n{end}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"  # noqa: PLR2004 - Python's own two notations
