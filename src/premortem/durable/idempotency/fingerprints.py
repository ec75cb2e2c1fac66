"""A digest of a payload, the same for the same value in every process: to tell a repetition from another request.

Law: one value has one form. Types that differ, differ (1 is not 1.0, "1" is not 1); a tuple counts as a list, and the
order of a mapping or a set does not count. What has no form of its own that holds from one process to the next, such as
an object's address, is refused instead of being taken for different every time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from uuid import UUID

from premortem.errors import ConfigurationError

_DEEPEST = 100
_BY_TEXT = (int, float, date, time, Decimal, UUID, PurePath)  # datetime is a date


def fingerprint(payload: object) -> str:
    """32 hexadecimal digits. ConfigurationError names the part that has no form of its own."""
    digest = hashlib.sha256()
    for piece in _pieces(payload, "payload", 0):
        digest.update(b"%d:%s" % (len(piece), piece))
    return digest.hexdigest()[:32]


def _pieces(value: object, where: str, depth: int) -> list[bytes]:  # noqa: PLR0911 - one for each form
    if depth > _DEEPEST:
        raise ConfigurationError(f"{where:.80}: lies more than {_DEEPEST} levels deep, or within itself; flatten it")
    if isinstance(value, Enum):
        return [b"enum", type(value).__qualname__.encode(), value.name.encode()]
    if value is None or isinstance(value, bool):
        return [str(value).encode()]
    if isinstance(value, str):
        return [b"str", value.encode("utf-8", "surrogatepass")]
    if isinstance(value, bytes | bytearray | memoryview):
        return [b"bytes", bytes(value)]
    if isinstance(value, timedelta):
        return [b"timedelta", str((value.days, value.seconds, value.microseconds)).encode()]
    if isinstance(value, _BY_TEXT):
        return [type(value).__name__.encode(), str(value).encode("utf-8", "surrogatepass")]
    return _of_many(value, where, depth + 1)


def _of_many(value: object, where: str, depth: int) -> list[bytes]:
    if isinstance(value, list | tuple):
        parts = [_pieces(item, f"{where}[{at}]", depth) for at, item in enumerate(value)]
    elif isinstance(value, Mapping):
        pairs = [
            (_pieces(key, where, depth), _pieces(item, f"{where}[{key!r:.40}]", depth)) for key, item in value.items()
        ]
        parts = [part for pair in sorted(pairs) for part in pair]
    elif isinstance(value, set | frozenset):
        parts = sorted(_pieces(item, where, depth) for item in value)
    elif is_dataclass(value) and not isinstance(value, type):
        named = [(field.name, getattr(value, field.name)) for field in fields(value)]
        parts = [[type(value).__qualname__.encode()]]
        parts += [[name.encode(), *_pieces(item, f"{where}.{name}", depth)] for name, item in named]
    else:
        raise ConfigurationError(
            f"{where:.80}: a {type(value).__name__} has no fingerprint; hand over what it consists of (texts, numbers, "
            "dates, bytes, lists, mappings, dataclasses)"
        )
    kind = b"list" if isinstance(value, tuple) else type(value).__name__.encode()
    if isinstance(value, Mapping):
        kind = b"mapping"
    return [kind, str(len(parts)).encode(), *(piece for part in parts for piece in (str(len(part)).encode(), *part))]
