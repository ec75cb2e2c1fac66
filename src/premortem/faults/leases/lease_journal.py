"""The write-ahead journal of leases: a line on the disk before the fault goes in, and another when it is out again.

Laws:
- A line is on the disk (fsync) before its writer goes on; a torn last line is a fault that never went in.
- One file per owner, named after it; appended to by its owner, by its watchdog and by `premortem heal`.
- A file without an open lease is removed: what lies in the folder is what is still to be healed, or still runs.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.faults.leases.identity import Owner, born
from premortem.faults.leases.undo import Undo, as_fields, from_fields, sync_folder

FOLDER_VARIABLE = "PREMORTEM_FAULTS"
DEFAULT_FOLDER = Path(".premortem/faults")
COPIES = "kept"
Line = dict[str, object]


@dataclass(frozen=True, slots=True)
class Entry:
    """A lease as it was opened. `opened_at` is the calendar's time in ISO 8601, `ttl_s` its time to live in seconds."""

    id: int
    what: str
    undo: Undo
    opened_at: str
    ttl_s: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """One owner's file: what it opened, which of that is closed, and the lines that another version wrote."""

    path: Path
    owner: Owner
    entries: tuple[Entry, ...]
    closed: frozenset[int]
    unreadable: tuple[str, ...] = ()

    @property
    def left_open(self) -> tuple[Entry, ...]:
        """The last first: undone in the opposite order."""
        return tuple(entry for entry in reversed(self.entries) if entry.id not in self.closed)


def folder_of(given: Path | None) -> Path:
    """The folder of journals: the one given, that of PREMORTEM_FAULTS, or .premortem/faults here."""
    return (given or Path(os.environ.get(FOLDER_VARIABLE) or DEFAULT_FOLDER)).absolute()


def file_of(folder: Path, owner: Owner) -> Path:
    """Where the leases of `owner` stand."""
    return folder / f"{owner.name}.jsonl"


def write_open(path: Path, owner: Owner, entry: Entry) -> None:
    """Put a lease down, before its fault goes in."""
    line: Line = {"open": entry.id, "what": entry.what, "at": entry.opened_at, "ttl_s": entry.ttl_s}
    line["undo"] = as_fields(entry.undo)
    if path.exists():
        _append(path, line)
        return
    # A file that is there has its first line: nobody may take one that is just being made for an abandoned one.
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    draft.touch(mode=0o600)
    _append(draft, {"owner": owner.pid, "birth": owner.birth}, line)
    draft.rename(path)
    sync_folder(path.parent)


def write_done(path: Path, entry_id: int, by: str, said: str) -> None:
    """Put down that a lease is over, after its fault is out. Where somebody has healed and removed it all, nothing."""
    with suppress(FileNotFoundError):
        _append(path, {"done": entry_id, "by": by, "said": said})


def recorded(folder: Path) -> list[Recorded]:
    """Every journal in `folder`."""
    return [read(path) for path in sorted(folder.glob("*.jsonl"))]


def read(path: Path) -> Recorded:
    """Read one owner's file. ConfigurationError when its first line does not say whose it is."""
    first, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    owner = _owner(path, _parsed(first))
    entries: list[Entry] = []
    closed: set[int] = set()
    unreadable: list[str] = []
    for line in lines:
        told = _parsed(line)
        if told is None:
            continue  # torn: its writer died before the disk had all of it, so what it announces did not happen
        done, entry = told.get("done"), _entry(told)
        if entry:
            entries.append(entry)
        elif type(done) is int:
            closed.add(done)
        else:
            unreadable.append(line)
    return Recorded(path, owner, tuple(entries), frozenset(closed), tuple(unreadable))


def tidy(record: Recorded) -> bool:
    """Remove the file and the copies that its owner kept, unless something is open in it or cannot be read."""
    if record.left_open or record.unreadable:
        return False
    for copy in (record.path.parent / COPIES).glob(f"{record.owner.name}-*"):
        copy.unlink(missing_ok=True)
    record.path.unlink(missing_ok=True)
    return True


def remove_strays(folder: Path) -> None:
    """Remove drafts and copies of owners that died before the line that would have needed them was written."""
    for path in (*folder.glob("*.draft"), *(folder / COPIES).glob("*-*-*")):
        name = "-".join(path.stem.split("-")[:2])
        pid = int(name.partition("-")[0]) if name.partition("-")[0].isdigit() else 0
        if name != Owner(pid, born(pid)).name and not (folder / f"{name}.jsonl").exists():
            path.unlink(missing_ok=True)


def _append(path: Path, *lines: Line) -> None:
    """Add lines to a file that is there, and wait for the disk."""
    number = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    try:
        size = os.fstat(number).st_size
        torn = size > 0 and os.pread(number, 1, size - 1) != b"\n"  # a line of one who died: ours must stand alone
        rest = (b"\n" if torn else b"") + b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        while rest:
            rest = rest[os.write(number, rest) :]
        os.fsync(number)
    finally:
        os.close(number)


def _parsed(line: str) -> Line | None:
    try:
        told: object = json.loads(line)
    except ValueError:
        return None
    return told if isinstance(told, dict) else None


def _owner(path: Path, told: Line | None) -> Owner:
    pid, birth = (told or {}).get("owner"), (told or {}).get("birth")
    if type(pid) is not int or not isinstance(birth, str):
        raise ConfigurationError(
            f"{path}: its first line has to say whose it is; it is no journal of faults, remove it"
        )
    return Owner(pid, birth)


def _entry(told: Line) -> Entry | None:
    number, what, at, ttl_s, undo = (told.get(name) for name in ("open", "what", "at", "ttl_s", "undo"))
    if type(number) is not int or not isinstance(what, str) or not isinstance(at, str) or not isinstance(undo, dict):
        return None
    try:
        return Entry(number, what, from_fields(undo), at, float(ttl_s) if isinstance(ttl_s, int | float) else 0.0)
    except ValueError:
        return None
