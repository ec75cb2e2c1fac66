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
    from premortem.durable.checkpoint.stores.file import FileStore
    from premortem.durable.checkpoint.stores.postgres import PostgresStore
    from premortem.durable.checkpoint.stores.sqlite import SqliteStore
    from premortem.durable.checkpoint.stores.valkey import ValkeyStore
    from premortem.durable.dead_letters import DeadLetters
    from premortem.durable.dead_letters.rules import DeadLetter
    from premortem.durable.dead_letters.stores.file import FileLetters
    from premortem.durable.dead_letters.stores.postgres import PostgresLetters
    from premortem.durable.dead_letters.stores.sqlite import SqliteLetters
    from premortem.durable.dead_letters.stores.valkey import ValkeyLetters
    from premortem.durable.errors import (
        CheckpointDamagedError,
        DamagedError,
        DeadLettersFullError,
        DurableError,
        InFlightError,
        NewerSchemaError,
        NothingDoneError,
        NotKeptError,
        OwnedError,
        PayloadMismatchError,
        RepairConflictError,
        StaleOwnerError,
        StoreDownError,
        TooManyDeadLettersError,
        UnknownOutcomeError,
    )
    from premortem.durable.idempotency import Idempotency
    from premortem.durable.idempotency.fingerprints import fingerprint
    from premortem.durable.idempotency.guard import idempotent
    from premortem.durable.idempotency.stores.postgres import PostgresKeys
    from premortem.durable.idempotency.stores.sqlite import SqliteKeys
    from premortem.durable.idempotency.stores.valkey import ValkeyKeys
    from premortem.durable.reconcile import (
        Columns,
        IterableSide,
        PostgresSide,
        Reconciliation,
        SqliteSide,
        orphans,
        repair_plan,
    )

_HOMES = {
    "AppendLog": "append_log",
    "AtomicFile": "atomic_file",
    "Checkpoint": "checkpoint",
    "CheckpointDamagedError": "errors",
    "Claim": "checkpoint",
    "Columns": "reconcile",
    "DamagedError": "errors",
    "DeadLetter": "dead_letters.rules",
    "DeadLetters": "dead_letters",
    "DeadLettersFullError": "errors",
    "DurableError": "errors",
    "FileLetters": "dead_letters.stores.file",
    "FileStore": "checkpoint.stores.file",
    "Idempotency": "idempotency",
    "InFlightError": "errors",
    "IterableSide": "reconcile",
    "NewerSchemaError": "errors",
    "NotKeptError": "errors",
    "NothingDoneError": "errors",
    "OwnedError": "errors",
    "PayloadMismatchError": "errors",
    "PostgresKeys": "idempotency.stores.postgres",
    "PostgresLetters": "dead_letters.stores.postgres",
    "PostgresSide": "reconcile",
    "PostgresStore": "checkpoint.stores.postgres",
    "Reconciliation": "reconcile",
    "RepairConflictError": "errors",
    "Saved": "checkpoint",
    "SqliteKeys": "idempotency.stores.sqlite",
    "SqliteLetters": "dead_letters.stores.sqlite",
    "SqliteSide": "reconcile",
    "SqliteStore": "checkpoint.stores.sqlite",
    "StaleOwnerError": "errors",
    "StoreDownError": "errors",
    "TooManyDeadLettersError": "errors",
    "UnknownOutcomeError": "errors",
    "ValkeyKeys": "idempotency.stores.valkey",
    "ValkeyLetters": "dead_letters.stores.valkey",
    "ValkeyStore": "checkpoint.stores.valkey",
    "fingerprint": "idempotency.fingerprints",
    "idempotent": "idempotency.guard",
    "orphans": "reconcile",
    "read_whole": "atomic_file",
    "repair_plan": "reconcile",
    "write_atomically": "atomic_file",
}

__all__ = [
    "AppendLog",
    "AtomicFile",
    "Checkpoint",
    "CheckpointDamagedError",
    "Claim",
    "Columns",
    "DamagedError",
    "DeadLetter",
    "DeadLetters",
    "DeadLettersFullError",
    "DurableError",
    "FileLetters",
    "FileStore",
    "Idempotency",
    "InFlightError",
    "IterableSide",
    "NewerSchemaError",
    "NotKeptError",
    "NothingDoneError",
    "OwnedError",
    "PayloadMismatchError",
    "PostgresKeys",
    "PostgresLetters",
    "PostgresSide",
    "PostgresStore",
    "Reconciliation",
    "RepairConflictError",
    "Saved",
    "SqliteKeys",
    "SqliteLetters",
    "SqliteSide",
    "SqliteStore",
    "StaleOwnerError",
    "StoreDownError",
    "TooManyDeadLettersError",
    "UnknownOutcomeError",
    "ValkeyKeys",
    "ValkeyLetters",
    "ValkeyStore",
    "fingerprint",
    "idempotent",
    "orphans",
    "read_whole",
    "repair_plan",
    "write_atomically",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
