"""How a fault is taken out again, as data: written down before the fault goes in, and carried out by any process.

Laws:
- Carrying it out twice is as good as once, and carrying it out where the fault never went in does no harm.
- What it cannot recognise it does not touch: another process under the same number, another folder at the same path.
- Only words and whole numbers, so that the journal's line says all of it.

A new kind is a frozen dataclass with `undo`, and a line in KINDS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from premortem.faults.leases.undo.of_files import PutBack, RemoveFolder, put_back, sync_folder
from premortem.faults.leases.undo.of_processes import Continue, KillGroup, RestoreLimit
from premortem.faults.leases.undo.undone import Undone

__all__ = [
    "KINDS",
    "Continue",
    "KillGroup",
    "PutBack",
    "RemoveFolder",
    "RestoreLimit",
    "Undo",
    "Undone",
    "as_fields",
    "from_fields",
    "put_back",
    "sync_folder",
]

Value = str | int
_TYPES = {"int": int, "str": str}  # as the fields of every kind are annotated

Undo = Continue | RestoreLimit | PutBack | RemoveFolder | KillGroup

KINDS: dict[str, type[Undo]] = {
    "continue": Continue,
    "limit": RestoreLimit,
    "file": PutBack,
    "folder": RemoveFolder,
    "group": KillGroup,
}


def as_fields(undo: Undo) -> dict[str, Value]:
    """As it is written into the journal and sent to the watchdog."""
    kind = next(name for name, kind in KINDS.items() if isinstance(undo, kind))
    return {"kind": kind, **asdict(undo)}


def from_fields(told: Mapping[str, object]) -> Undo:
    """Read what `as_fields` gave. ValueError when it is none of that."""
    kind = KINDS.get(str(told.get("kind")))
    if kind is None:
        raise ValueError(f"{told.get('kind')!r}: is no kind of undo; it has to be one of {', '.join(KINDS)}")
    values = {name: value for name, value in told.items() if name != "kind"}
    wanted = {field.name: _TYPES[str(field.type)] for field in fields(kind)}
    if set(values) != set(wanted) or not all(type(values[name]) is wanted[name] for name in wanted):
        raise ValueError(f"{told!r}: has to hold {', '.join(wanted)}")
    return kind(**values)  # type: ignore[arg-type]  # looked at, one by one, a line above
