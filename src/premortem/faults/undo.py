"""How a fault is taken out again, as data: written down before the fault goes in, and carried out by any process.

Laws:
- Carrying it out twice is as good as once, and carrying it out where the fault never went in does no harm.
- What it cannot recognise it does not touch: another process under the same number, another folder at the same path.
- Only words and whole numbers, so that the journal's line says all of it.

A new kind is a frozen dataclass with `undo`, and a line in KINDS.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from premortem.errors import FaultError
from premortem.faults.identity import Owner, born
from premortem.faults.strike import inside

Value = str | int
_TYPES = {"int": int, "str": str}  # as the fields below are annotated


@dataclass(frozen=True, slots=True)
class Undone:
    """What came of it: whether anything was `changed`, and in words."""

    changed: bool
    said: str


@dataclass(frozen=True, slots=True)
class Continue:
    """A stopped process goes on."""

    pid: int
    birth: str

    @classmethod
    def of(cls, pid: int) -> Self:
        """For a process that is about to be stopped."""
        return cls(pid, _birth(pid))

    def undo(self) -> Undone:
        """SIGCONT, if it is still the same process."""
        return _signal(self.pid, self.birth, signal.SIGCONT, "goes on")


@dataclass(frozen=True, slots=True)
class RestoreLimit:
    """A process has its soft limit back; `limit` is a resource.RLIMIT_ number. Linux."""

    pid: int
    birth: str
    limit: int
    soft: int

    @classmethod
    def of(cls, pid: int, limit: int) -> Self:
        """For a process whose soft limit is about to be lowered."""
        return cls(pid, _birth(pid), limit, resource.prlimit(pid, limit)[0])

    def undo(self) -> Undone:
        """The soft limit alone: a lowered hard limit could not be raised again."""
        if other := _is_another(self.pid, self.birth):
            return other
        try:
            soft, hard = resource.prlimit(self.pid, self.limit)
            if soft == self.soft:
                return Undone(changed=False, said=f"process {self.pid} has its limit {self.soft} already")
            resource.prlimit(self.pid, self.limit, (self.soft, hard))
        except ProcessLookupError:
            return Undone(changed=False, said=f"process {self.pid} has ended")
        return Undone(changed=True, said=f"process {self.pid} has its limit {self.soft} back, it was {soft}")


@dataclass(frozen=True, slots=True)
class PutBack:
    """A file below `folder` is as it was when it was copied to `copy`, whatever was made of it meanwhile."""

    path: str
    folder: str
    copy: str
    mode: int

    @classmethod
    def keep(cls, path: Path, folder: Path, copies: Path) -> Self:
        """Copy a file that is about to be struck, onto the disk itself, into the folder `copies`."""
        target = inside(folder, path)
        copies.mkdir(parents=True, exist_ok=True)
        number, copy = tempfile.mkstemp(prefix=f"{Owner.me().name}-", dir=copies.resolve())
        with os.fdopen(number, "wb") as file, target.open("rb") as original:
            shutil.copyfileobj(original, file)
            file.flush()
            os.fsync(number)
        return cls(str(target), str(folder.resolve()), copy, stat.S_IMODE(target.stat().st_mode))

    def undo(self) -> Undone:
        """Write the copy over whatever is there."""
        target, content = Path(self.path), Path(self.copy).read_bytes()
        if self.is_back():
            return Undone(changed=False, said=f"{self.path} is as it was")
        put_back(target, Path(self.folder), content, self.mode)
        return Undone(changed=True, said=f"{self.path} is put back, {len(content)} bytes")

    def is_back(self) -> bool:
        """Whether the file is what it was."""
        target = Path(self.path)
        if target.is_symlink() or not target.is_file() or stat.S_IMODE(target.stat().st_mode) != self.mode:
            return False
        return target.read_bytes() == Path(self.copy).read_bytes()

    def forget(self) -> None:
        """Remove the copy, once it is certain that nobody needs it."""
        Path(self.copy).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class RemoveFolder:
    """A folder that we made is gone; it is known by device and inode, so another one at its path stays."""

    path: str
    device: int
    inode: int

    @classmethod
    def of(cls, folder: Path) -> Self:
        """For a folder that was made a moment ago."""
        found = folder.resolve().stat()
        return cls(str(folder.resolve()), found.st_dev, found.st_ino)

    def undo(self) -> Undone:
        """Remove it with all that is in it."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return Undone(changed=False, said=f"{self.path} is gone already")
        if (found.st_dev, found.st_ino) != (self.device, self.inode) or not stat.S_ISDIR(found.st_mode):
            return Undone(changed=False, said=f"{self.path} is another one by now, and is not touched")
        shutil.rmtree(self.path)
        return Undone(changed=True, said=f"{self.path} is removed")


@dataclass(frozen=True, slots=True)
class KillGroup:
    """A process group that we started is killed; it is known by its leader."""

    group: int
    birth: str

    @classmethod
    def of(cls, leader: int) -> Self:
        """For a process that leads a group of its own."""
        if leader == os.getpgrp() or os.getpgid(leader) != leader:
            raise FaultError(f"process {leader}: leads no group of its own; start it with start_new_session=True")
        return cls(leader, _birth(leader))

    def undo(self) -> Undone:
        """SIGKILL the whole group, unless its leader has gone: then nobody can tell whose group it is now."""
        found = born(self.group, even_ended=True)
        if not found:
            return Undone(changed=False, said=f"the leader of group {self.group} has gone; nothing is touched")
        if found != self.birth:
            return Undone(changed=False, said=f"group {self.group} is another one by now, and is not touched")
        with suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        return Undone(changed=True, said=f"group {self.group} is killed")


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


def put_back(target: Path, folder: Path, content: bytes, mode: int) -> None:
    """The file as it was, whatever was made of it; through no link, for what that points to is not ours."""
    if target.is_symlink():
        target.unlink()
    elif target.is_dir():
        shutil.rmtree(target)
    inside(folder, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    target.chmod(mode)


def _birth(pid: int) -> str:
    found = born(pid)
    if not found:
        raise FaultError(f"process {pid}: is not running, so there is nothing to strike; start it first")
    return found


def _is_another(pid: int, birth: str) -> Undone | None:
    found = born(pid)
    if not found:
        return Undone(changed=False, said=f"process {pid} has ended")
    if found != birth:
        return Undone(changed=False, said=f"process {pid} is another one by now, and is not touched")
    return None


def _signal(pid: int, birth: str, number: signal.Signals, said: str) -> Undone:
    """Hold on to the process before looking at its birth, so that nobody can take its place in between (Linux)."""
    handle = -1
    with suppress(OSError):
        handle = os.pidfd_open(pid) if sys.platform == "linux" else -1
    try:
        if other := _is_another(pid, birth):
            return other
        with suppress(ProcessLookupError):
            if handle >= 0:
                signal.pidfd_send_signal(handle, number)
            else:
                os.kill(pid, number)
        return Undone(changed=True, said=f"process {pid} {said}")
    finally:
        if handle >= 0:
            os.close(handle)
