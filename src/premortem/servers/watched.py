"""Our side of the death pipe: start, kill and stop a server, or guard folders, so that nothing outlives us.

Law: dropping the pipe is the only goodbye. `close()`, a crash and SIGKILL take the same way, so the way that
is taken when all goes wrong is the one that is taken every day.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from premortem.errors import ConfigurationError, FaultError, MissingRequirementError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from premortem.servers.account import Account

FOLDERS_LEFT = 3  # the watcher's exit status
CLOSE_S = 60.0  # more than its own longest way out


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: `argv[0]` is an absolute path; `log` gets its output and errors.

    `account` is whom to become (None: stay who we are). `last_signal`, then `last_grace_s` seconds, then
    SIGKILL is how it ends when we go without stopping it. `pid_file` is PostgreSQL's postmaster.pid, which
    names a shared memory segment that a killed server leaves behind.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    cwd: Path
    account: Account | None = None
    last_signal: int = signal.SIGTERM
    last_grace_s: float = 2.0
    pid_file: Path | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    id: int
    pid: int = 0
    exit: int | None = None
    error: str = ""


_all: weakref.WeakSet[Watched] = weakref.WeakSet()


class Watched:
    """A watcher process, the server that it keeps (none at first), and the folders that it removes at the end.

    Safe to use from many threads. A fork of this process does not own it: there, every method does nothing.
    """

    def __init__(self, folders: Sequence[Path] = (), *, name: str = "folders") -> None:
        self.name = name
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._asked = 0
        self._heard = b""
        paths = [str(_removable(folder)) for folder in folders]
        argv = [sys.executable, "-I", "-S", str(Path(__file__).with_name("watcher.py"))]
        # subprocess makes both pipes close-on-exec, so no process that another thread starts can hold them.
        try:
            self._process = subprocess.Popen(
                [*argv, str(os.getpid()), json.dumps(paths)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                bufsize=0, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise MissingRequirementError(
                "a watcher process", f"{sys.executable!r} does not start ({error})", "make it executable for this user"
            ) from None
        _all.add(self)
        try:
            self._receive(0)  # from here on the folders are guarded
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def watcher_pid(self) -> int:
        """The process id of the watcher itself."""
        return self._process.pid

    def start(self, launch: Launch) -> int:
        """Start a server and return its process id. Raises `FaultError` when it could not be executed."""
        account = launch.account
        answer = self._ask(
            do="start",
            argv=list(launch.argv),
            environment=[f"{key}={value}" for key, value in launch.environment.items()],
            log=str(launch.log), cwd=str(launch.cwd), pid_file=str(launch.pid_file or ""),
            uid=account.uid if account else -1, gid=account.gid if account else -1,
            last_signal=int(launch.last_signal), last_grace_s=launch.last_grace_s,
        )  # fmt: skip
        if answer.error:
            raise FaultError(f"{launch.argv[0]}: could not be started: {answer.error}")
        return answer.pid

    def wait(self, seconds: float) -> int | None:
        """Wait for the server to end: its exit status, minus the signal that killed it, or None (still runs)."""
        return self._ask(do="wait", seconds=seconds).exit

    @property
    def pid(self) -> int:
        """The process id of the server, 0 when none runs."""
        return self._ask(do="wait", seconds=0.0).pid

    def alive(self) -> bool:
        """Whether a server runs; a server whose watcher was killed counts as dead."""
        try:
            return self.pid > 0
        except WorkerDiedError:
            return False

    def kill(self, *, everything: bool = True) -> None:
        """SIGKILL the server with all that it made, or the server's own process alone; back when it is dead."""
        self._ask(do="kill", everything=everything)

    def stop(self, number: int = signal.SIGTERM, *, grace_s: float = 10.0) -> int | None:
        """Send the signal, wait, SIGKILL what is left; returns the exit status. Folders stay until `close`."""
        return self._ask(do="stop", signal=int(number), seconds=grace_s).exit

    def close(self) -> None:
        """Stop the server as its `Launch` says and remove the folders. Can be called again.

        Raises `FaultError` when a folder could not be removed.
        """
        if os.getpid() != self._owner:
            return
        self._let_go()
        if self._process.wait(CLOSE_S) == FOLDERS_LEFT:
            raise FaultError(f"the watcher of {self.name} could not remove every folder: remove them by hand")

    def _let_go(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def _ask(self, **request: str | float | list[str]) -> _Answer:
        if os.getpid() != self._owner:
            return _Answer(0)
        with self._lock:
            self._asked += 1
            line = json.dumps({"id": self._asked, **request}).encode() + b"\n"
            pipe = self._process.stdin
            if pipe is None or pipe.closed:
                raise WorkerDiedError(f"the watcher of {self.name}", "it was closed")
            try:
                while line:
                    line = line[pipe.write(line) or 0 :]
            except BrokenPipeError:
                raise self._died() from None
            return self._receive(self._asked)

    def _receive(self, wanted: int) -> _Answer:
        """The answer to request `wanted`; one that an interrupted call left unread is skipped."""
        pipe = self._process.stdout
        while pipe is not None:
            line, found, rest = self._heard.partition(b"\n")
            if found:
                self._heard = rest
                answer = _Answer(**json.loads(line))
                if answer.id == wanted:
                    return answer
            elif chunk := os.read(pipe.fileno(), 65536):
                self._heard += chunk
            else:
                break
        raise self._died()

    def _died(self) -> WorkerDiedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1.0)
        status = self._process.returncode
        cause = f"killed by signal {-status}" if status and status < 0 else f"exit status {status}"
        return WorkerDiedError(f"the watcher of {self.name}", cause)


def guard_folders(folders: Sequence[Path], *, name: str = "the run's folders") -> Watched:
    """Folders that are removed when this process ends, however it ends, or at `close()` (a context manager).

    Raises `ConfigurationError` for a folder that nobody can want to lose.
    """
    return Watched(folders, name=name)


def guarded(made: Sequence[Path], name: str) -> Watched:
    """A watcher of folders that were made a moment ago and are empty: they go at once if it does not start."""
    try:
        return Watched(made, name=name)
    except BaseException:
        for folder in made:
            with contextlib.suppress(FileNotFoundError):
                folder.rmdir()
        raise


def _removable(folder: Path) -> Path:
    """The absolute path of a folder that may be removed; refuses the roots of other people's work."""
    path = Path(os.path.abspath(folder))  # noqa: PTH100 - not resolved: a link is removed, not what it points to
    if path in {Path(path.anchor), Path.home()} or path in Path.cwd().parents or path.is_symlink():
        raise ConfigurationError(
            f"{folder}: a guarded folder is removed at the end, so it must not be a root, your home, a parent of "
            "the current folder or a link; name a folder that was made for the run"
        )
    return path


def _forget() -> None:
    """In a fork: give up its copies of our pipe ends, or the watchers would wait for the fork to end too."""
    for watched in list(_all):
        watched._let_go()  # noqa: SLF001 - this module's own
        watched._process.returncode = 0  # noqa: SLF001 - not our child here: nothing to wait for, nothing to warn of


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget)
