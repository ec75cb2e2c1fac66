"""Undoing what was done to files and folders: put back from a copy, or removed.

Law: nothing is touched through a link, for what that points to is not ours.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from premortem.faults.leases.identity import Owner
from premortem.faults.leases.undo.undone import Undone
from premortem.faults.strike import inside


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
        sync_folder(copies)
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


def sync_folder(folder: Path) -> None:
    """Wait until the disk knows the names in it."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)
