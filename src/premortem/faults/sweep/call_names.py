"""Finds a callable by its name, `package.module:function` or `module.Class.method`, and where it hangs."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from premortem.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a callable hangs: `owner.attribute`, as it stands there (a static method is not unwrapped)."""

    name: str
    owner: Any
    attribute: str
    raw: Any

    @classmethod
    def find(cls, name: str) -> Spot:
        """Import what holds it. ConfigurationError where there is no such callable, or one that cannot be patched."""
        owner, path = _module(name)
        for part in path[:-1]:
            owner = getattr(owner, part, None)
        raw = inspect.getattr_static(owner, path[-1], None)
        inner = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
        if not callable(inner) or isinstance(inner, type):
            raise ConfigurationError(
                f"{name!r}: is no function and no method; name one as package.module:function or module:Class.method"
            )
        return cls(name, owner, path[-1], raw)


def _module(name: str) -> tuple[Any, list[str]]:
    """The module of a name, and the way from there."""
    modules, _, path = name.partition(":")
    if path:
        return _imported(name, modules), path.split(".")
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        with_module = ".".join(parts[:length])
        if _is_module(with_module):
            return _imported(name, with_module), parts[length:]
    raise ConfigurationError(f"{name!r}: no module of that name can be imported; name it as package.module:function")


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):  # a part of it is no package
        return False


def _imported(name: str, module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{name!r}: {error}; name it as package.module:function") from error
