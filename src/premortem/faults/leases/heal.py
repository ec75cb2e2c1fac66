"""Taking out what dead owners have left in: the journals are read, and every lease that is still open is undone.

Laws:
- An owner that still runs is left alone: its faults are meant.
- Healing twice is as good as once, and may be interrupted: an undo is marked as done only after it.
- Nothing is lost by it: what a file held when it was put back is set aside, and the report says where.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.leases import lease_journal
from premortem.faults.leases.lease_journal import Entry, Recorded
from premortem.faults.leases.undo import PutBack, Undo

ASIDE = "aside"


class Outcome(StrEnum):
    """What became of a lease that was found open."""

    UNDONE = "undone"
    NOTHING_TO_DO = "nothing to do"  # it is as it was, or what it struck has gone: it is closed
    WOULD_UNDO = "would be undone"
    STILL_RUNS = "its owner still runs"
    FAILED = "failed"
    UNREADABLE = "unreadable"  # another version wrote it


@dataclass(frozen=True, slots=True)
class Healed:
    """One finding. `opened_at` is ISO 8601; `said` is what was done, or why not, in words."""

    journal: Path
    owner: int
    what: str
    opened_at: str
    outcome: Outcome
    said: str

    @property
    def stays(self) -> bool:
        """Whether the fault may still be in."""
        return self.outcome in (Outcome.WOULD_UNDO, Outcome.FAILED, Outcome.UNREADABLE)


def heal(folder: Path | None = None, *, dry_run: bool = False) -> tuple[Healed, ...]:
    """Undo what is left open in the journals of `folder` (by default as `leased`), the last first; what was found.

    With `dry_run` nothing is touched.
    """
    place = lease_journal.folder_of(folder)
    healed: list[Healed] = []
    for path in sorted(place.glob("*.jsonl")):
        try:
            record = lease_journal.read(path)
        except FileNotFoundError:  # its watchdog was quicker
            continue
        except ConfigurationError as error:
            healed.append(Healed(path, 0, path.name, "", Outcome.UNREADABLE, str(error)))
            continue
        healed += _heal(record, dry_run=dry_run)
    if not dry_run:
        lease_journal.remove_strays(place)
    return tuple(healed)


def _heal(record: Recorded, *, dry_run: bool) -> list[Healed]:
    if record.owner.lives():
        said = "its faults are meant; end the process, and they end with it"
        return [_found(record, entry, Outcome.STILL_RUNS, said) for entry in record.left_open]
    healed = [
        Healed(
            record.path, record.owner.pid, line[:60], "", Outcome.UNREADABLE, "undo it with the version that wrote it"
        )
        for line in record.unreadable
    ]
    if dry_run:
        return healed + [_found(record, entry, Outcome.WOULD_UNDO, str(entry.undo)) for entry in record.left_open]
    healed += [_undo(record, entry) for entry in record.left_open]
    if not any(one.stays for one in healed):
        lease_journal.tidy(_as_it_is_now(record) or record)
    return healed


def _undo(record: Recorded, entry: Entry) -> Healed:
    try:
        aside = _set_aside(entry.undo, record.path.parent / ASIDE, f"{record.owner.name}-{entry.id}")
        undone = entry.undo.undo()
        lease_journal.write_done(record.path, entry.id, "heal", undone.said)
    except (OSError, FaultError) as error:
        now = _as_it_is_now(record)
        if now is None or entry.id in now.closed:
            return _found(record, entry, Outcome.NOTHING_TO_DO, "its watchdog was quicker")
        return _found(record, entry, Outcome.FAILED, f"{error}; mend that and heal again")
    said = undone.said + (f"; what it held before is in {aside}" if aside else "")
    return _found(record, entry, Outcome.UNDONE if undone.changed else Outcome.NOTHING_TO_DO, said)


def _as_it_is_now(record: Recorded) -> Recorded | None:
    """None when its watchdog, which may be at it at the same time, has removed it."""
    try:
        return lease_journal.read(record.path)
    except FileNotFoundError:
        return None


def _set_aside(undo: Undo, folder: Path, name: str) -> Path | None:
    """Copy what a file holds now: somebody may have worked on it since the fault was left in."""
    if not isinstance(undo, PutBack) or undo.is_back():
        return None
    target = Path(undo.path)
    if target.is_symlink() or not target.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / f"{name}-{target.name}"
    if target.is_dir():
        shutil.copytree(target, place, symlinks=True, dirs_exist_ok=True)
    else:
        shutil.copy2(target, place)
    return place


def _found(record: Recorded, entry: Entry, outcome: Outcome, said: str) -> Healed:
    return Healed(record.path, record.owner.pid, entry.what, entry.opened_at, outcome, said)
