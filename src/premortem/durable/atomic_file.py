"""A file that is replaced whole or not at all: draft, fsync, rename, fsync of the folder.

Laws: a reader sees the old content or the new one, also after a power failure; once `write_atomically` returns, it is
the new one. At most one draft (`.NAME.draft`) is ever left behind by a crash, and the next write removes it. Mode and,
where allowed, owner of the file stay; a symbolic link stays a link; access lists and extended attributes do not.
Prior art: "Files are hard" (Dan Luu, 2015); Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from premortem.durable.framing import framed, unframed
from premortem.durable.locking import lock, same_file
from premortem.errors import ConfigurationError

WAIT_S = 5.0  # for another writer of the same file, who needs milliseconds
_KIND = "file"


def write_atomically(path: str | os.PathLike[str], data: bytes, *, wait_s: float = WAIT_S) -> None:
    """Replace the content of `path` by `data`, for good when this returns.

    Waits up to `wait_s` seconds for another writer of the same file (TimeoutError). ConfigurationError where `path` is
    no plain file, OSError where the disk cannot; then the old content is still there.
    """
    replace(os.path.realpath(path), data, wait_s=wait_s)
    sync_folder(os.path.dirname(os.path.realpath(path)))  # noqa: PTH120 - a text is what the calls below want


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The content of `path` as one writer left it. FileNotFoundError where there is none."""
    return Path(path).read_bytes()  # opened once: a rename meanwhile gives another file, never a part of this one


class AtomicFile:
    """A file with a checksum: what is read is what was written, or DamagedError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, data: bytes) -> None:
        """As `write_atomically`."""
        write_atomically(self.path, framed(_KIND, data))

    def read(self) -> bytes:
        """What was last written. FileNotFoundError before that; DamagedError for anything else than that."""
        return unframed(_KIND, read_whole(self.path), str(self.path))


def replace(path: str, data: bytes, *, wait_s: float = WAIT_S, synced: bool = True) -> None:
    """As `write_atomically` for a real path, except that a power failure may still bring the old content back.

    Not `synced`, it may leave anything: for what carries a checksum, and can be made again.
    """
    before = _plain(path)
    folder, name = os.path.split(path)
    draft = os.path.join(folder, f".{name}.draft")  # noqa: PTH118 - half of the time of a save, measured
    with _drafted(draft, before.st_mode & 0o777 if before else 0o666, wait_s) as file:
        if before:
            _dress(file, before)
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(file, view) :]
            if synced:
                sync(file)
        except OSError as error:
            error.filename = path  # calls on a descriptor do not say of which file they speak
            raise
        os.replace(draft, path)  # noqa: PTH105 - as above


def sync(file: int) -> None:
    """Have the disk hold what was written to `file`; on macOS, too, where fsync leaves it in a cache."""
    if sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - as in `locking`

        with contextlib.suppress(OSError):  # some file systems know only fsync
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
            return
    os.fsync(file)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Have the disk hold the names in `folder`."""
    file = os.open(folder or ".", os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _plain(path: str) -> os.stat_result | None:
    """What stands at `path`, None where nothing does; ConfigurationError where a rename would replace a device."""
    try:
        found = os.stat(path)  # noqa: PTH116 - as above
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError(f"{path}: has to be a plain file, or not there yet; name another path")
    return found


def _dress(file: int, before: os.stat_result) -> None:
    mine = os.fstat(file)
    if (mine.st_uid, mine.st_gid) != (before.st_uid, before.st_gid):
        with contextlib.suppress(PermissionError):  # only root may give a file away
            os.fchown(file, before.st_uid, before.st_gid)
    if stat.S_IMODE(mine.st_mode) != stat.S_IMODE(before.st_mode):
        os.fchmod(file, stat.S_IMODE(before.st_mode))


@contextmanager
def _drafted(draft: str, mode: int, wait_s: float) -> Iterator[int]:
    """A new file at `draft`, locked; it is gone when the block fails. A crashed writer's one is removed first."""
    ends = time.monotonic() + wait_s
    while (file := _claimed(draft, mode, ends)) is None:
        pass
    try:
        yield file
    except BaseException:
        with contextlib.suppress(OSError):
            if same_file(file, draft):
                os.unlink(draft)  # noqa: PTH108 - as above
        raise
    finally:
        os.close(file)


def _claimed(draft: str, mode: int, ends: float) -> int | None:
    """One try: make the draft and lock it, or remove the one that a dead writer has left. TimeoutError after `ends`."""
    try:
        # Never open to more people than the file is: they could open the empty draft and read on.
        file, ours = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), True
    except FileExistsError:
        try:
            file, ours = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), False
        except FileNotFoundError:
            return None  # renamed just now
    keep = False
    try:
        left_s = ends - time.monotonic()
        if left_s < 0 or not lock(file, left_s):
            raise TimeoutError(f"{draft}: another writer has held it for too long; look for a process that hangs")
        keep = ours and same_file(file, draft)
        if not ours and same_file(file, draft):
            os.unlink(draft)  # noqa: PTH108 - as above
    finally:
        if not keep:
            os.close(file)
    return file if keep else None
