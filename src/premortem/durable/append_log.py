"""A file that only grows: records of bytes, each with length and checksum, by as many appenders as there are.

    log = AppendLog("work/done.log")
    log.append(b"chunk 7")              # on the disk when this returns
    for record in log.records(): ...

Laws: what `append` returned for is read back, also after a crash and a power failure (with `sync="each"`); a record is
read whole or not at all. A torn tail, as a crash leaves it, is cut before the next record, and told. Damage before the
end is no torn tail: nothing is cut, and reading stops with DamagedError unless the reader chooses to skip.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, Self

from premortem.durable.append_records import MAGIC, Gap, packed, scanned
from premortem.durable.atomic_file import sync as sync_file
from premortem.durable.atomic_file import sync_folder
from premortem.durable.errors import DamagedError
from premortem.durable.locking import lock, same_file
from premortem.durable.telling import tell
from premortem.errors import ConfigurationError

Sync = Literal["each", "never"] | float
_WAIT_S = 10.0  # for other appenders, who hold the lock for one write and one fsync


class AppendLog:
    """Appends to and reads `path`, which is made at the first append.

    `sync`: "each" has the disk hold a record before `append` returns; a number of seconds does so for the first append
    after so long and at `close`, and a power failure may take the records since; "never" leaves it to the system.
    Thread-safe; any number of processes may append to one path on one machine.
    """

    def __init__(self, path: str | os.PathLike[str], *, sync: Sync = "each") -> None:
        if sync not in ("each", "never") and (isinstance(sync, str | bool) or not 0 < sync <= 3600):  # noqa: PLR2004
            raise ConfigurationError(f'AppendLog.sync = {sync!r}: has to be "each", "never" or seconds up to 3600')
        self.path = Path(path)
        self._sync = sync
        self._thread = threading.Lock()
        self._file: int | None = None
        self._process = os.getpid()
        self._good = 0  # up to here, this appender knows the file to be whole
        self._synced_at = time.monotonic()
        self._unsynced = False

    def append(self, record: bytes) -> int:
        """Add one record; the offset in bytes at which it stands. As `extend`."""
        return self.extend((record,))

    def extend(self, records: Iterable[bytes]) -> int:
        """Add records, side by side and in this order, with one fsync; the offset of the first.

        OSError where the disk cannot: then none of them is there. TimeoutError where others hold the file for 10 s,
        DamagedError where it is no log. A crash in between may leave the first few.
        """
        data = b"".join(packed(record) for record in records)
        with self._thread, self._named(), self._locked() as file:
            at = self._mend(file)
            try:
                _write(file, data)
                self._sync_if_due(file)
            except BaseException:
                os.ftruncate(file, at)  # or the next appender would find a torn tail, or a record nobody vouched for
                raise
            self._good = at + len(data)
            return at

    def records(self, *, on_damage: Literal["stop", "skip"] = "stop") -> Iterator[bytes]:
        """All whole records up to now, in order; none where there is no file yet.

        DamagedError at damage that is followed by good records; with "skip" it is told, and reading goes on behind it.
        """
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            end = self._settled(file)
            for found in scanned(file, 0, end):
                if not isinstance(found, Gap):
                    yield found.record
                elif found.end == end:
                    tell("log.torn_tail", path=str(self.path), at=found.at, bytes=end - found.at, cut=False)
                elif on_damage == "stop":
                    raise self._damaged(found)
                else:
                    tell("log.damaged", path=str(self.path), at=found.at, bytes=found.end - found.at)
        finally:
            os.close(file)

    def close(self) -> None:
        """Have the disk hold what is not there yet, unless `sync` is "never". The next append opens it again."""
        with self._thread:
            if self._file is None or self._process != os.getpid():
                return
            try:
                if self._unsynced and self._sync != "never":
                    sync_file(self._file)
            finally:
                self._forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, opened anew where it was renamed or removed, and ours alone."""
        if self._process != os.getpid():  # a fork shares its parent's lock: it has to open the file itself
            self._file, self._process, self._good = None, os.getpid(), 0
        while True:
            file = self._open()
            self._lock(file)
            if same_file(file, self.path, follow=True):
                break
            self._forget()
        try:
            yield file
        finally:
            _unlock(file)

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            self._good = 0
        return self._file

    def _forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
        self._file, self._good, self._unsynced = None, 0, False

    def _mend(self, file: int) -> int:
        """Look at what others have appended, cut a torn tail, write the header of a new file; the end."""
        end = os.fstat(file).st_size
        at = self._good if len(MAGIC) <= self._good <= end else self._begun(file, end)
        end = max(end, at)
        for found in scanned(file, at, end):
            if isinstance(found, Gap) and found.end < end:
                tell("log.damaged", path=str(self.path), at=found.at, bytes=found.end - found.at)
            elif isinstance(found, Gap):
                os.ftruncate(file, found.at)
                tell("log.torn_tail", path=str(self.path), at=found.at, bytes=end - found.at, cut=True)
                end = found.at
        return end

    def _begun(self, file: int, end: int) -> int:
        """The offset behind the header, which is on the disk before any record is; DamagedError for a foreign file."""
        first = os.pread(file, len(MAGIC), 0)
        if first == MAGIC:
            return len(MAGIC)
        if end > len(MAGIC) or not MAGIC.startswith(first.rstrip(b"\0")):
            raise DamagedError(
                str(self.path),
                f"it begins with {first!r}, as no log does",
                "name another file, or restore it from a copy",
            )
        os.ftruncate(file, 0)
        _write(file, MAGIC)
        sync_file(file)
        sync_folder(os.path.dirname(os.path.realpath(self.path)))  # noqa: PTH120 - the folder that the name stands in
        return len(MAGIC)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno is not None:
                error.filename = str(self.path)  # calls on a descriptor do not say of which file they speak
            raise

    def _sync_if_due(self, file: int) -> None:
        now = time.monotonic()
        self._unsynced = True
        if self._sync == "never" or (isinstance(self._sync, int | float) and now - self._synced_at < self._sync):
            return
        sync_file(file)
        self._synced_at, self._unsynced = now, False

    def _settled(self, file: int) -> int:
        """The size at a moment when nobody was appending."""
        self._lock(file, shared=True)
        try:
            return os.fstat(file).st_size
        finally:
            _unlock(file)

    def _lock(self, file: int, *, shared: bool = False) -> None:
        if not lock(file, _WAIT_S, shared=shared):
            raise TimeoutError(f"{self.path}: others held it for {_WAIT_S:g} s; look for a process that hangs")

    def _damaged(self, gap: Gap) -> DamagedError:
        return DamagedError(
            str(self.path), f"bytes {gap.at} to {gap.end} are no record, and good ones follow",
            'restore it from a copy, or read the rest with records(on_damage="skip")',
        )  # fmt: skip


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _unlock(file: int) -> None:
    import fcntl  # noqa: PLC0415 - as in `locking`

    fcntl.flock(file, fcntl.LOCK_UN)
