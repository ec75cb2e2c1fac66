"""Embedded real servers, PostgreSQL and Valkey, that cannot outlive the process that started them.

Importing this package costs nothing: a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # as `typing` has it; importing that takes longer than all the rest
if TYPE_CHECKING:
    from premortem.servers.pool import Place, Servers
    from premortem.servers.postgres import PostgresServer, Template, make_template
    from premortem.servers.valkey import ValkeyServer
    from premortem.servers.watched import Launch, Watched, guard_folders

_HOMES = {
    "Launch": "watched",
    "Place": "pool",
    "PostgresServer": "postgres",
    "Servers": "pool",
    "Template": "postgres",
    "ValkeyServer": "valkey",
    "Watched": "watched",
    "guard_folders": "watched",
    "make_template": "postgres",
}

__all__ = [
    "Launch",
    "Place",
    "PostgresServer",
    "Servers",
    "Template",
    "ValkeyServer",
    "Watched",
    "guard_folders",
    "make_template",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
