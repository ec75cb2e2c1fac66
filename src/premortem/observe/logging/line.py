"""One line of a log: bytes of JSON that any strict parser reads, of a bounded length, without a line end inside.

Letters of all scripts are written as they are; what may end a line or play with a terminal is escaped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from premortem.observe.logging.redaction import Redaction
from premortem.observe.logging.values import Bounds, plain_fields

SHORTEST_LINE_BYTES = 1024
HEAD = ("time", "level", "event", "logger", "service", "process", "correlation")
"""Keys that are the line's own; a field of such a name is written with `_` behind it."""

_TIGHT = Bounds(characters=256, items=10, depth=3, values=100)
_STAMP = 27  # characters of a time, which is not to be cut
_UNSAFE = re.compile("[\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True)
class Rendered:
    """A line with its line end, and whether something had to be left out for its length."""

    line: bytes
    shortened: bool


def rendered(
    head: Mapping[str, object], fields: Mapping[str, object], *, bounds: Bounds, redaction: Redaction, most_bytes: int
) -> Rendered:
    """The line, of at most `most_bytes` (from 1024): whole, or with values cut, or of its `head` alone."""
    whole = {**head, **{(f"{name}_" if name in HEAD else name): value for name, value in fields.items()}}
    line = _written(whole, bounds, redaction)
    if len(line) <= most_bytes:
        return Rendered(line, False)
    length = len(line)
    tight = replace(_TIGHT, items=max(_TIGHT.items, len(head) + 1))
    for some, characters in ((whole, 256), (whole, 64), (head, 256), (head, _STAMP)):
        cut = {**some, "cut_from_bytes": length} if some is head else {**head, "cut_from_bytes": length, **some}
        depth = 1 if some is head else tight.depth
        line = _written(cut, replace(tight, characters=characters, depth=depth), redaction)
        if len(line) <= most_bytes:
            break
    return Rendered(line, True)


def _written(fields: Mapping[str, object], bounds: Bounds, redaction: Redaction) -> bytes:
    tree = plain_fields(fields, bounds, redaction)
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if not text.isascii() or "\x7f" in text:
        text = _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode() + b"\n"
