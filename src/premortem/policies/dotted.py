"""Exception types and functions by dotted name, as data says them: "ConnectionError", "httpx.ConnectError".

Whoever writes the data can have any module imported that is installed: treat such a document as you treat code.
"""

from __future__ import annotations

import builtins
import difflib
import importlib
from types import ModuleType

from premortem.errors import ConfigurationError


def found(name: object) -> object:
    """What a dotted name stands for, or ConfigurationError with the near match."""
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f'{name!r}: has to be a dotted name; write "ConnectionError" or "httpx.ConnectError"')
    first, *rest = name.split(".")
    if not rest:
        return _within(builtins, [first], name)
    module, depth = _module_of(name)
    return _within(module, name.split(".")[depth:], name)


def _module_of(name: str) -> tuple[ModuleType, int]:
    """The longest part of `name` that is a module, and of how many parts it consists."""
    parts = name.split(".")
    for depth in range(len(parts) - 1, 0, -1):
        path = ".".join(parts[:depth])
        try:
            return importlib.import_module(path), depth
        except ModuleNotFoundError as error:
            if error.name is None or not f"{path}.".startswith(f"{error.name}."):
                raise ConfigurationError(f"{name!r}: importing {path} failed: {error}; install {error.name}") from error
    raise ConfigurationError(f"{name!r}: there is no module {parts[0]!r} here; install it, or correct the name")


def _within(start: object, parts: list[str], name: str) -> object:
    for part in parts:
        if not hasattr(start, part):
            where = getattr(start, "__name__", repr(start))
            raise ConfigurationError(f"{name!r}: {where} has no {part!r}{near(part, dir(start))}")
        start = getattr(start, part)
    return start


def exception(name: object) -> type[Exception]:
    """The exception type of that name, or ConfigurationError."""
    kind = found(name)
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise ConfigurationError(f"{name!r}: is {kind!r}, and has to be an exception type below Exception")
    return kind


def name_of(thing: object) -> str:
    """The dotted name by which `found` finds `thing` again, or ConfigurationError."""
    module, inside = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    name = f"{inside}" if module == "builtins" else f"{module}.{inside}"
    try:
        if found(name) is thing:
            return name
    except ConfigurationError:
        name = ""  # a lambda, or something inside a function: no name leads there
    raise ConfigurationError(
        f"{thing!r}: cannot be written as data, for no dotted name leads to it; define it at the top of a module"
    )


def near(wrong: object, right: list[str] | tuple[str, ...]) -> str:
    """What to add to a message: a question for the one of `right` that resembles `wrong`, or nothing."""
    close = difflib.get_close_matches(str(wrong), right, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""
