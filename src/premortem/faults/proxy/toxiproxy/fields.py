"""A JSON object taken apart key by key: what is of the wrong type is refused, and so is what nobody asked for.

Keys are read without regard to case, as Go's decoder does: Toxiproxy's .NET client sends `Name` and `Listen`. A null
counts as not given, as it does there: the Ruby client sends `"enabled": null`.
"""

from __future__ import annotations

import difflib
import json
import math

from premortem.faults.proxy.toxiproxy.refusals import bad_body

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
Value = int | float | str


class Fields:
    """One JSON object; `what` names it in errors ("proxy", "toxic")."""

    def __init__(self, told: Json, what: str) -> None:
        if not isinstance(told, dict):
            raise bad_body(f"a {what} has to be a JSON object, and this is {_kind(told)}")
        self.what = what
        self._told = {key.casefold(): value for key, value in told.items() if value is not None}
        self._asked: list[str] = []

    def take(self, name: str) -> Json:
        """The value as it is; None where it is not given."""
        self._asked.append(name)
        return self._told.pop(name, None)

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        told = self.take(name)
        if told is None:
            return default
        if not isinstance(told, str):
            raise self._wrong(name, told, "a text")
        return told

    def number(self, name: str, default: float = 0) -> float:
        """A number; whole ones stay whole."""
        told = self.take(name)
        if told is None:
            return default
        if isinstance(told, bool) or not isinstance(told, int | float) or not math.isfinite(told):
            raise self._wrong(name, told, "a number")
        return told

    def flag(self, name: str, *, default: bool) -> bool:
        """True or false."""
        told = self.take(name)
        if told is None:
            return default
        if not isinstance(told, bool):
            raise self._wrong(name, told, "true or false")
        return told

    def rest(self) -> tuple[str, ...]:
        """The keys that nobody has asked for so far."""
        return tuple(self._told)

    def finish(self) -> None:
        """Refuse what is left: a misspelt key that is ignored is a fault that is not there."""
        if not self._told:
            return
        name = next(iter(self._told))
        near = difflib.get_close_matches(name, self._asked, n=1)
        known = ", ".join(self._asked) or "none at all"
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise bad_body(f"{name!r} is no key of a {self.what}, which has {known}{hint}")

    def _wrong(self, name: str, told: Json, wanted: str) -> Exception:
        return bad_body(f"{name!r} of a {self.what} has to be {wanted}, and this is {_kind(told)}")


def read_json(data: bytes | str) -> Json:
    """What a body or a file holds."""
    try:
        told: Json = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # json's own error and UnicodeDecodeError are ValueErrors
        raise bad_body(f"it is no JSON ({error})") from None
    return told


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _kind(told: Json) -> str:
    shown = json.dumps(told)
    return shown if len(shown) <= 40 else f"{shown[:40]}..."  # noqa: PLR2004 - as much as fits into a sentence
