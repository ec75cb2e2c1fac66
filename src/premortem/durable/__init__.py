"""Durable state for pipelines: files, logs and checkpoints that survive a crash, on the standard library alone.

A name is loaded when it is first used; stores other than the file bring their driver when they are made.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from premortem.durable.append_log import AppendLog
    from premortem.durable.atomic_file import AtomicFile, read_whole, write_atomically
    from premortem.durable.checkpoint import Checkpoint, Claim, Saved
    from premortem.durable.errors import (
        CheckpointDamagedError,
        DamagedError,
        DurableError,
        NewerSchemaError,
        OwnedError,
        StaleOwnerError,
        StoreDownError,
    )
    from premortem.durable.stores.file import FileStore
    from premortem.durable.stores.postgres import PostgresStore
    from premortem.durable.stores.sqlite import SqliteStore
    from premortem.durable.stores.valkey import ValkeyStore

_HOMES = {
    "AppendLog": "append_log",
    "AtomicFile": "atomic_file",
    "Checkpoint": "checkpoint",
    "CheckpointDamagedError": "errors",
    "Claim": "checkpoint",
    "DamagedError": "errors",
    "DurableError": "errors",
    "FileStore": "stores.file",
    "NewerSchemaError": "errors",
    "OwnedError": "errors",
    "PostgresStore": "stores.postgres",
    "Saved": "checkpoint",
    "SqliteStore": "stores.sqlite",
    "StaleOwnerError": "errors",
    "StoreDownError": "errors",
    "ValkeyStore": "stores.valkey",
    "read_whole": "atomic_file",
    "write_atomically": "atomic_file",
}

__all__ = [
    "AppendLog",
    "AtomicFile",
    "Checkpoint",
    "CheckpointDamagedError",
    "Claim",
    "DamagedError",
    "DurableError",
    "FileStore",
    "NewerSchemaError",
    "OwnedError",
    "PostgresStore",
    "Saved",
    "SqliteStore",
    "StaleOwnerError",
    "StoreDownError",
    "ValkeyStore",
    "read_whole",
    "write_atomically",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
