"""What is known of a kept server: its files in `.premortem/`, its locks, and whether it runs.

Law: only a process that works in our data folder is our server, whatever a file says.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.servers.account import require_posix

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTLE_S = 30.0


@dataclass(frozen=True, slots=True)
class Status:
    """Whether the kept server runs, and as what; `pid` and `port` are 0 when it does not."""

    running: bool
    pid: int
    port: int
    data: Path


@dataclass(frozen=True, slots=True)
class Access:
    """What the 0600 file holds: the port of the last start, to be used again, and the password."""

    port: int
    password: str = field(repr=False)


def look(home: Path) -> Status:
    """What runs; a server that is coming up or going down is waited for."""
    data = home / "postgres" / "data"
    none = Status(running=False, pid=0, port=0, data=data)
    seen = none

    def settled() -> bool:
        nonlocal seen
        try:
            lines = (data / "postmaster.pid").read_text().splitlines()
            pid, port = int(lines[0]), int(lines[3])
        except (OSError, IndexError, ValueError):
            seen = none
            return True
        if not works_in(pid, data):
            seen = none
            return True
        seen = Status(running=True, pid=pid, port=port, data=data)
        return len(lines) > 7 and lines[7].strip() == "ready"  # noqa: PLR2004 - the 8th line is the state

    until(settled, SETTLE_S)
    return seen


def forget_stale(home: Path) -> None:
    """Remove the pid file of a server that is gone, where its number belongs to somebody else by now.

    PostgreSQL itself would take that process for a postmaster and refuse to start.
    """
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    with contextlib.suppress(PermissionError, ValueError, IndexError):  # of another user; nothing to be read
        try:
            os.kill(int(pid_file.read_text().splitlines()[0]), 0)
        except (FileNotFoundError, ProcessLookupError):  # PostgreSQL deals with that, and checks for survivors
            return
    pid_file.unlink()


def works_in(pid: int, data: Path) -> bool:
    """Whether the process is a server of this data folder: PostgreSQL works in it from its start to its end."""
    if sys.platform != "linux":
        asked = ["ps", "-o", "command=", "-p", str(pid)]
        return str(data) in subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    try:
        there, ours = Path(f"/proc/{pid}/cwd").stat(), data.stat()
    except OSError:  # gone, a zombie, or somebody else's
        return False
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)


def until(reached: Callable[[], bool], seconds: float) -> bool:
    """Wait for it, `seconds` at most; whether it came."""
    deadline = time.monotonic() + seconds
    while not (done := reached()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return done


def home_of(project: Path) -> Path:
    """`.premortem/` of a folder, made if needed, and ignored by git."""
    require_posix()
    home = project.absolute() / ".premortem"
    home.mkdir(exist_ok=True)
    ignore = home / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n")
    return home


def read_access(home: Path) -> Access | None:
    """Port and password; None before the first start."""
    try:
        return Access(**json.loads((home / "postgres.json").read_text()))
    except FileNotFoundError:
        return None


def write_access(home: Path, access: Access) -> None:
    """Replace the file as a whole, readable by us alone."""
    draft = home / "postgres.json.draft"
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(access), file)
    draft.replace(home / "postgres.json")


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[int]:
    """Hold the lock file, waiting for it; yields its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        lock(descriptor, shared=shared)
        yield descriptor
    finally:
        unlock(descriptor)


def lock(descriptor: int, *, shared: bool) -> None:
    """Lock, or change the lock that is held; waits."""
    import fcntl  # noqa: PLC0415 - not on Windows

    fcntl.flock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def unlock(descriptor: int) -> None:
    """Unlock, then close: closing alone would leave it locked where a fork holds a copy."""
    import fcntl  # noqa: PLC0415

    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
