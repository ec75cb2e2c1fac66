"""A disk that is full: a small one of its own in memory, with few bytes or few inodes, or /dev/full.

The small disk is a tmpfs in a mount namespace (Linux; no root where user namespaces are allowed), so nothing else on
the machine can see it, and it is gone when its owner is. What is written there meets the true ENOSPC, in any program
that runs inside. A limit on the size of files, which needs no namespace, is in `limits`.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from premortem.errors import FaultError, MissingRequirementError
from premortem.faults import namespaces
from premortem.faults.children.inside import Inside
from premortem.faults.namespaces import Namespaces
from premortem.faults.strike import lifted, struck

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_AT_MOST_BYTES = 1 << 30  # it lives in memory
_FAULT = "disk full"
_FILLER = ".premortem-filler"


def why_not() -> str:
    """Empty where a small disk is to be had, else the exact reason."""
    try:
        with SmallDisk(1 << 16) as disk, disk.full():
            return ""
    except (MissingRequirementError, OSError) as error:
        return getattr(error, "reason", f"{error}")


def why_not_full_device() -> str:
    """Empty where /dev/full is what it should be, else the exact reason."""
    try:
        full_device().write_bytes(b"x")
    except MissingRequirementError as missing:
        return missing.reason
    except OSError as error:
        return "" if error.errno == errno.ENOSPC else f"{error}"
    return "a write to /dev/full succeeded"


def full_device() -> Path:
    """/dev/full: reads as zeros, and every write to it fails with ENOSPC. MissingRequirementError where it is not."""
    device = Path("/dev/full")
    if not device.is_char_device():
        raise MissingRequirementError("/dev/full", "there is no such device", "use a small disk, or run on Linux")
    return device


class SmallDisk(Inside):
    """A disk of `size_bytes` (and `inodes` files and folders), for the block.

    `folder` is where it is for what runs inside (`run`); `seen` is the same folder for this process and its
    children. Through `seen` a path must not be resolved (`Path.resolve`, SQLite), which would leave the disk: such
    programs run inside, where `folder` is an ordinary path. Outside, `folder` does not exist.
    """

    def __init__(self, size_bytes: int, inodes: int | None = None) -> None:
        if not _PAGE_BYTES <= size_bytes <= _AT_MOST_BYTES:
            raise FaultError(
                f"size_bytes={size_bytes}: a small disk lives in memory and has from {_PAGE_BYTES} bytes (a page) "
                f"to {_AT_MOST_BYTES}; choose a size in between"
            )
        if inodes is not None and inodes < 2:  # noqa: PLR2004 - said in words
            raise FaultError(f"inodes={inodes}: the disk's own folder takes one, so there have to be 2 or more")
        self.size_bytes = size_bytes
        self._inodes = inodes
        self._place = Path(tempfile.mkdtemp(prefix="premortem-disk-"))
        self.folder = self._place / "disk"
        try:
            self._namespaces = Namespaces(setup=self._mounted)
        except BaseException:
            self._place.rmdir()
            raise
        self.seen = Path(f"/proc/{os.getpid()}/fd/{self._namespaces.kept[0]}")

    def close(self) -> None:
        """The disk and all that is on it are gone. Can be called again."""
        self._namespaces.close()
        with suppress(FileNotFoundError):
            self._place.rmdir()

    @property
    def free_bytes(self) -> int:
        """What is still free on it."""
        room = os.statvfs(self.seen)
        return room.f_bavail * room.f_frsize

    @property
    def free_inodes(self) -> int:
        """How many more files and folders it takes."""
        return os.statvfs(self.seen).f_favail

    @contextmanager
    def full(self, leave_bytes: int = 0) -> Iterator[None]:
        """Somebody else's file fills it up, all but `leave_bytes` (rounded down to pages), for the block."""
        filler = self.seen / _FILLER
        size = self.free_bytes // _PAGE_BYTES * _PAGE_BYTES - leave_bytes // _PAGE_BYTES * _PAGE_BYTES
        if leave_bytes < 0 or size <= 0:
            raise FaultError(
                f"leave_bytes={leave_bytes}: {self.free_bytes} are free, so nothing would be filled; leave fewer"
            )
        try:
            with filler.open("xb") as file:
                _allocated(file.fileno(), size)
            struck(_FAULT, f"{self.free_bytes} of {self.size_bytes} bytes are left")
            yield
        finally:
            filler.unlink(missing_ok=True)
            lifted(_FAULT, f"{self.folder}")

    @contextmanager
    def no_inodes(self, leave: int = 0) -> Iterator[None]:
        """Somebody else's empty files take its inodes, all but `leave`, for the block: there is room, and no file."""
        if self._inodes is None:
            raise FaultError(f"{self.folder}: was made without a number of inodes; write SmallDisk(..., inodes=16)")
        if not 0 <= leave < self.free_inodes - 1:
            raise FaultError(f"leave={leave}: {self.free_inodes} inodes are free; leave from 0 to fewer than these")
        fillers = self.seen / f"{_FILLER}s"
        fillers.mkdir()
        try:
            for number in range(self.free_inodes - leave):
                (fillers / str(number)).touch()
            struck("no inodes", f"{self.free_inodes} of {self._inodes} inodes are left, {self.free_bytes} bytes free")
            yield
        finally:
            shutil.rmtree(fillers)
            lifted("no inodes", f"{self.folder}")

    def enter(self) -> None:
        """As `Inside`: the disk is at `folder` there."""
        self._namespaces.enter()

    def looked(self) -> None:
        """As `Inside`: a disk that a run left full is a strike."""
        if not (self.seen / _FILLER).exists() and self.free_bytes == 0:
            struck(_FAULT, f"all {self.size_bytes} bytes were taken")

    def _mounted(self) -> tuple[int]:
        """In the child that makes the namespace. The folder is one below, so that outside there is none."""
        options = f"size={self.size_bytes},mode=0755"
        if self._inodes is not None:
            options += f",nr_inodes={self._inodes + 1}"  # one is the root of the file system
        namespaces.mount("tmpfs", self._place, "tmpfs", options=options)
        self.folder.mkdir()
        return (os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC),)


def _allocated(descriptor: int, size: int) -> None:
    """Take the room at once, without writing it."""
    if sys.platform == "linux":  # the only place where there is a small disk
        os.posix_fallocate(descriptor, 0, size)
