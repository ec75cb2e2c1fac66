r"""Any object as plain JSON values: bounded, without secrets, and without anything that a strict parser refuses.

NaN and infinities become texts, for they are no JSON; so do integers beyond 64 bits, which readers would round. Lone
surrogates, as a file's name may have them, are written out (`\\udcff`). A generator is not consumed. An object that
raises when it is looked at is a text that says so.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TypeAlias, cast
from uuid import UUID

from premortem.errors import ConfigurationError
from premortem.observe.logging.redaction import HIDDEN, LONGEST_SECRET, Redaction

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"

_SIXTY_FOUR = 64
_TOO_MANY_BITS = 4096
_PAIR = 2
_SHORT_NAME = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a value is written: characters of a text, items of a collection, levels, and values in all."""

    characters: int = 8192
    items: int = 100
    depth: int = 6
    values: int = 2000

    def __post_init__(self) -> None:
        for name in ("characters", "items", "depth", "values"):
            number = getattr(self, name)
            if not 1 <= number <= 1 << 20:
                raise ConfigurationError(f"Bounds.{name} = {number!r}: has to be a whole number from 1 to {1 << 20}")


def plain(value: object, bounds: Bounds, redaction: Redaction) -> Plain:
    """`value` in plain JSON values. Never raises an `Exception`."""
    return _Walk(bounds, redaction).of(value, 0)


def plain_fields(fields: Mapping[str, object], bounds: Bounds, redaction: Redaction) -> dict[str, Plain]:
    """The fields of one line, which share one budget of values."""
    return _Walk(bounds, redaction).mapping(fields, 0)


def shortened(text: str, most: int, redaction: Redaction, *, end: bool = False) -> str:
    """At most `most` characters of a text, without secrets: its beginning, or its `end` (where a traceback says why).

    It is redacted with a margin before it is cut, and the margin is dropped: half a secret is never at the cut.
    """
    if len(text) <= most:
        return _sound(redaction.text(text))
    window = most + LONGEST_SECRET
    if len(text) <= window:
        whole = redaction.text(text)
        kept = whole[-most:] if end else whole[:most]
    elif end:
        kept = redaction.text(text[-window:])[LONGEST_SECRET:][-most:]
    else:
        kept = redaction.text(text[:window])[:-LONGEST_SECRET][:most]
    more = len(text) - most
    return _sound(f"({more} characters before) …{kept}" if end else f"{kept}… ({more} more characters)")


def _sound(text: str) -> str:
    if text.isascii():
        return text
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class _Walk:
    """One walk through a value, with a budget."""

    __slots__ = ("_bounds", "_left", "_redaction")

    def __init__(self, bounds: Bounds, redaction: Redaction) -> None:
        self._bounds, self._redaction, self._left = bounds, redaction, bounds.values

    def of(self, value: object, depth: int) -> Plain:
        kind = type(value)
        if kind is str:
            return self._text(cast("str", value))
        if value is None or kind is bool:
            return cast("bool | None", value)
        try:
            return self._looked_at(value, depth)
        except Exception as error:  # noqa: BLE001 - whatever an object does when it is looked at, the line is written
            return self._text(f"<{_name(kind)}: {_name(type(error))} when it was looked at>")

    def mapping(self, value: Mapping[object, object] | Mapping[str, object], depth: int) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key, item in itertools.islice(value.items(), self._bounds.items):
            name = self._key(key)
            hidden = item is not None and not isinstance(item, bool) and self._redaction.hides(name)
            found[_unused(self._named(name), found)] = HIDDEN if hidden else self._next(item, depth)
        if (left_out := len(value) - self._bounds.items) > 0:
            found[_unused("…", found)] = f"{left_out} more"
        return found

    def _looked_at(self, value: object, depth: int) -> Plain:  # noqa: PLR0911 - one line for each kind of value
        if isinstance(value, Enum):
            return self.of(value.value, depth)
        if isinstance(value, int):
            return self._integer(int.__add__(value, 0))
        if isinstance(value, float):
            number = float.__add__(value, 0.0)
            return number if math.isfinite(number) else _not_finite(number)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, bytes | bytearray | memoryview):
            return self._bytes(value)
        if isinstance(value, Decimal | UUID):
            return self._text(str(value))
        if isinstance(value, date | time):
            return self._text(value.isoformat())
        if isinstance(value, os.PathLike):
            return self._text(os.fsdecode(value))
        if isinstance(value, BaseException):
            return {"type": self._text(_name(type(value))), "message": self._text(str(value))}
        return self._compound(value, depth)

    def _compound(self, value: object, depth: int) -> Plain:
        if isinstance(value, Mapping):
            return self._deeper(value, depth) or self.mapping(value, depth)
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return self._deeper(value, depth) or self.mapping(dict(zip(value._fields, value, strict=False)), depth)
        if isinstance(value, set | frozenset) or (isinstance(value, Sequence) and not isinstance(value, range)):
            return self._deeper(value, depth) or self._items(value, len(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            shown = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.repr}
            return self._deeper(shown, depth) or self.mapping(shown, depth)
        return self._text(repr(value))

    def _items(self, value: Iterable[object], length: int, depth: int) -> Plain:
        first = list(itertools.islice(value, self._bounds.items))
        if length == _PAIR and isinstance(first[0], str | bytes) and self._redaction.hides(self._key(first[0])):
            return [self._text(self._key(first[0])), HIDDEN]  # headers come as pairs
        found = [self._next(item, depth) for item in first]
        return [*found, f"… {length - len(first)} more"] if length > len(first) else found

    def _next(self, item: object, depth: int) -> Plain:
        self._left -= 1
        return self.of(item, depth + 1) if self._left > 0 else "…"

    def _deeper(self, value: object, depth: int) -> str:
        """What stands for a value that is too deep, or holds itself; empty where it is not."""
        if depth < self._bounds.depth:
            return ""
        return f"<{_name(type(value))} of {len(value)}>"  # type: ignore[arg-type]  # each that comes here has a length

    def _key(self, key: object) -> str:
        if type(key) is str:
            return key
        return str(self.of(key, self._bounds.depth))

    def _named(self, name: str) -> str:
        return _sound(self._redaction.key(name)) if len(name) <= _SHORT_NAME else self._text(name)

    def _integer(self, number: int) -> Plain:
        if number.bit_length() < _SIXTY_FOUR:
            return HIDDEN if self._redaction.is_secret(number) else number
        if number.bit_length() > _TOO_MANY_BITS:
            return f"<int of {number.bit_length()} bits>"
        return self._text(str(number))

    def _bytes(self, value: bytes | bytearray | memoryview) -> str:
        whole = value.tobytes() if isinstance(value, memoryview) else bytes(value)
        text = whole[: self._bounds.characters + LONGEST_SECRET].decode("utf-8", "backslashreplace")
        short = self._text(text)
        return short if len(whole) <= self._bounds.characters else f"{short} ({len(whole)} bytes)"

    def _text(self, text: str) -> str:
        return shortened(text, self._bounds.characters, self._redaction)


def _not_finite(number: float) -> str:
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def _name(kind: type) -> str:
    """A class's own name, whatever its metaclass says."""
    return str(type.__dict__["__name__"].__get__(kind))


def _unused(name: str, taken: Mapping[str, object]) -> str:
    """`name`, or with a number: two keys that read alike are two keys."""
    if name not in taken:
        return name
    return next(other for number in itertools.count(2) if (other := f"{name} ({number})") not in taken)
