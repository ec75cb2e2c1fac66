"""A log file that several processes append to: whole lines, also when the disk fills up or a writer is killed.

Each line is one write to the end of the file (O_APPEND), under a lock of the file that is waited for at most `lock_s`
seconds. What a full disk or a SIGKILL leaves of a line is cut off again by the next writer, so every line parses.
The file is renamed to `.1`, `.2` ... when it is full; one that somebody else has moved away is opened anew.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from premortem.errors import ConfigurationError

LINE_BYTES = 1 << 16
_LOOK_S = 0.0005
_LOCKLESS_S = 5.0  # after a lock was waited for in vain, so long nobody waits again
_OURS = b'{"time":'
_AGAIN = 5


class FileSink:
    """Appends to `path`, which is made with its folder at the first line; `max_bytes` and `keep` old files beside it.

    `max_bytes=None` leaves it to grow: for those who have logrotate.
    """

    line_bytes = LINE_BYTES

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int | None = 100 << 20,
        keep: int = 5,
        lock_s: float = 2.0,
        mode: int = 0o640,
    ) -> None:
        if max_bytes is not None and max_bytes < LINE_BYTES:
            raise ConfigurationError(f"FileSink.max_bytes = {max_bytes!r}: has to be {LINE_BYTES} or more, or None")
        if not 1 <= keep <= 1000:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"FileSink.keep = {keep!r}: has to be 1 to 1000 old files")
        if not 0 <= lock_s <= 60:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"FileSink.lock_s = {lock_s!r}: has to be 0 to 60 seconds")
        self.path = Path(path).absolute()
        self.name = str(self.path)
        self.mended = 0
        """How many torn ends, of writers that died or met a full disk, were cut off."""
        self._max_bytes, self._keep, self._lock_s, self._mode = max_bytes, keep, lock_s, mode
        self._file: int | None = None
        self._process = 0
        self._end = -1  # where the file ended after our last line: it is whole up to there
        self._wait_from = 0.0

    def write(self, line: bytes) -> None:
        """As `Sink.write`."""
        file, locked = self._ours()
        try:
            if not locked:
                _append(file, line)
                return
            end = os.fstat(file).st_size
            if end != self._end:
                end = self._mend(file, end)
            self._append(file, line, end)
            if self._max_bytes is not None and self._end >= self._max_bytes:
                self._rotate()
        finally:
            if locked:
                fcntl.flock(file, fcntl.LOCK_UN)

    def close(self) -> None:
        """As `Sink.close`."""
        if self._file is not None and self._process == os.getpid():
            os.close(self._file)
        self._file, self._end = None, -1

    def _append(self, file: int, line: bytes, end: int) -> None:
        try:
            _append(file, line)
        except BaseException:
            os.ftruncate(file, end)  # a beginning that found room: ours, for we hold the lock
            raise
        self._end = end + len(line)

    def _ours(self) -> tuple[int, bool]:
        """The file that is at `path` now, and whether it is locked."""
        for _ in range(_AGAIN):
            file = self._opened()
            locked = self._locked(file)
            try:
                if os.path.samestat(os.fstat(file), self.path.stat()):
                    return file, locked
            except FileNotFoundError:
                pass
            self.close()  # it was moved away: by logrotate, or by another of us
        raise OSError(f"{self.path} is moved away as fast as it is opened")

    def _opened(self) -> int:
        if self._file is not None and self._process == os.getpid():
            return self._file
        if self._file is not None:  # a fork shares its parent's lock, so it opens a file of its own
            os.close(self._file)
            self._file = None
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            file = os.open(self.path, flags, self._mode)
        except FileNotFoundError:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.path, flags, self._mode)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise OSError(f"{self.path} is no file; write to a pipe or a terminal with PipeSink")
        self._file, self._process, self._end = file, os.getpid(), -1
        return file

    def _locked(self, file: int) -> bool:
        """Whether we got the lock: somebody who was stopped in the middle must not stop everybody."""
        until = time.monotonic() + self._lock_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                now = time.monotonic()
                if now < self._wait_from:
                    return False
                if now >= until:
                    self._wait_from = now + _LOCKLESS_S
                    return False
                time.sleep(_LOOK_S)
            except OSError:  # a file system without locks: O_APPEND alone has to do
                return False
            else:
                return True

    def _mend(self, file: int, end: int) -> int:
        """Cut a torn end off, if it is of a line of ours; a stranger's is ended instead. The new end."""
        start = max(0, end - LINE_BYTES)
        tail = os.pread(file, end - start, start)
        torn = tail[tail.rfind(b"\n") + 1 :]
        if not torn:
            return end
        self.mended += 1
        if torn.startswith(_OURS) or _OURS.startswith(torn):
            os.ftruncate(file, end - len(torn))
            return end - len(torn)
        _append(file, b"\n")
        return end + 1

    def _rotate(self) -> None:
        """Whoever holds the lock renames; the others see that their file is not at `path` any more."""
        try:
            for number in range(self._keep - 1, 0, -1):
                older = self.path.with_name(f"{self.path.name}.{number}")
                if older.exists():
                    older.replace(self.path.with_name(f"{self.path.name}.{number + 1}"))
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        except OSError:  # then it grows on; the line that was to be written is there
            self._end = -1


def _append(file: int, line: bytes) -> None:
    """All of it; a disk that fills up in between is told by the second write."""
    while written := os.write(file, line):
        if written == len(line):
            return
        line = line[written:]
