"""Frozen dataclasses to plain JSON values and back, checked on the way in.

Only what the model is made of: dataclasses, tuples of one type, optional values, enums, literals and the four
scalars of JSON. Anything else is a programming error and says so.
"""

from __future__ import annotations

import types
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from premortem.errors import ConfigurationError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
T = TypeVar("T")


def encode(value: object) -> Json:
    """The JSON value that `decode` reads back; fields that hold their default are left out."""
    if is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: encode(getattr(value, field.name))
            for field in fields(value)
            if field.default is MISSING or getattr(value, field.name) != field.default
        }
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    if isinstance(value, Enum):
        return encode(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{value!r}: no part of the model is a {type(value).__name__}")


def decode(kind: type[T], value: Json, where: str = "record") -> T:
    """Build a `kind` from JSON; a value that does not fit is a ConfigurationError that says where it stands."""
    result: T = _decode(kind, value, where)
    return result


def _decode(kind: Any, value: Json, where: str) -> Any:  # noqa: ANN401, C901, PLR0911 - one arm for each type form
    origin = get_origin(kind)
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise _misfit(where, value, "a list")
        return tuple(_decode(get_args(kind)[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _decode(next(arm for arm in get_args(kind) if arm is not type(None)), value, where)
    if origin is Literal:
        if value not in get_args(kind):
            raise _misfit(where, value, f"one of {', '.join(get_args(kind))}")
        return value
    if isinstance(kind, type) and issubclass(kind, Enum):
        if value not in [member.value for member in kind]:
            raise _misfit(where, value, f"one of {', '.join(str(member.value) for member in kind)}")
        return kind(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not kind:
        raise _misfit(where, value, f"a {kind.__name__}")
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _decode_dataclass(kind: Any, value: Json, where: str) -> Any:  # noqa: ANN401 - as _decode
    if not isinstance(value, dict):
        raise _misfit(where, value, "an object")
    hints = _hints(kind)
    known = {name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items() if name in hints}
    lacking = [f.name for f in fields(kind) if f.default is MISSING and f.name not in known]
    if lacking:
        raise ConfigurationError(f"{where}: a {kind.__name__} has to carry {', '.join(lacking)}; the record is damaged")
    return kind(**known)


def _misfit(where: str, value: Json, wanted: str) -> ConfigurationError:
    return ConfigurationError(f"{where}: {value!r} has to be {wanted}; the record is damaged or not one of ours")
