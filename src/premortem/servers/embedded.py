"""What every embedded server has in common: a folder, a private port on loopback, a password, a watcher.

Laws:
- It listens on 127.0.0.1 only, at a port outside the range from which the system serves outgoing connections,
  so that a server that was killed finds its port free again.
- It is ready when it has answered a client that knows the password: whoever else took the port cannot.
- Data are 0700 and belong to the account that the server runs as; the folder goes when we go, unless it is kept.
"""

from __future__ import annotations

import secrets
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Self

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.events import emit
from premortem.servers.account import (
    Account,
    make_folder,
    make_temporary_folder,
    plain_environment,
    unprivileged,
)
from premortem.servers.binaries import Binaries, within_reach
from premortem.servers.loopback import LOOPBACK, free_port, taken
from premortem.servers.watched import Launch, Watched, guarded

START_S = 30.0
PORT_TRIES = 10
NOTHING: Mapping[str, str] = MappingProxyType({})


class EmbeddedServer(ABC):
    """A real server that dies with us. A context manager; its methods may be called from many threads.

    `folder` must be new (None: one in the temporary folder); it is removed at `close()` unless `keep`.
    `settings` are the server's own. `port` 0 means: choose one, and stay with it.
    """

    kind: ClassVar[str]
    modes: ClassVar[Mapping[str, int]]
    last_signal: ClassVar[int] = signal.SIGTERM

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] = NOTHING,
        binaries: Binaries | None = None,
        port: int = 0,
        password: str = "",
        keep: bool = False,
    ) -> None:
        self.settings = dict(settings)
        self.binaries = binaries or self.find()
        self.port = port
        self.password = password or secrets.token_hex(16)
        self.account: Account | None = unprivileged()
        self._given, self.keep = folder, keep
        self._lock = threading.RLock()
        self._watched: Watched | None = None
        self.folder = Path()
        self.pid = 0
        """The server's process id as of its last start."""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({LOOPBACK}:{self.port}, {self.folder})"  # without the password

    @property
    def data(self) -> Path:
        """The folder of the server's own files."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The file with all that the server has said."""
        return self.folder / "log"

    @abstractmethod
    def find(self) -> Binaries:
        """The programs to use when none were given."""

    @abstractmethod
    def fill(self, watched: Watched) -> None:
        """Make the data folder, once. A program that this takes runs under `watched`."""

    @abstractmethod
    def command(self, port: int) -> tuple[str, ...]:
        """The command line that serves the data at this port. Never with the password in it."""

    @abstractmethod
    def answers(self, port: int) -> bool:
        """Whether the server that was started takes our password at this port, now."""

    @abstractmethod
    def url(self) -> str:
        """How to reach it, password included."""

    def prepare(self) -> Watched:
        """The folder, guarded, with the data in it: what `start` does first, once."""
        with self._lock:
            if self._watched:
                return self._watched
            if self._given is None:
                self.folder = make_temporary_folder(self.account)
            else:
                self.folder = make_folder(self._given, self.account, kept=self.keep)
            watched = self._watched = guarded([] if self.keep else [self.folder], self.kind)
            try:
                self.binaries = within_reach(self.binaries, self.account, self.folder / "binaries")
                self.fill(watched)
            except BaseException:
                self.close()
                raise
            return watched

    def start(self) -> Self:
        """Start, or start again on the same data and port; nothing to do when it runs.

        Raises `ConfigurationError` (a setting, a folder) or `MissingRequirementError` (it does not run here).
        """
        with self._lock:
            fresh = self._watched is None
            watched = self.prepare()
            if watched.alive():
                return self
            began = time.monotonic()
            try:
                self._start(watched)
            except BaseException:
                if fresh:
                    self.close()
                raise
            emit("server.started", kind=self.kind, port=self.port, seconds=time.monotonic() - began)
            return self

    def _start(self, watched: Watched) -> None:
        said = ""
        for _ in range(PORT_TRIES):
            port = self.port or free_port()
            before = self.log.stat().st_size if self.log.exists() else 0
            self.pid = watched.start(self._launch(port))
            if self._came_up(watched, port):
                self.port = port
                return
            watched.kill()
            said = self.log.read_bytes()[before:].decode(errors="replace")
            if not taken(said):
                break
        raise self._failure(said)

    def _launch(self, port: int) -> Launch:
        return Launch(
            argv=self.command(port), environment=plain_environment(self.data), log=self.log, cwd=self.data,
            account=self.account, last_signal=self.modes["fast"] if self.keep else self.last_signal,
            last_grace_s=20.0 if self.keep else 5.0, pid_file=self.data / "postmaster.pid",
        )  # fmt: skip

    def _came_up(self, watched: Watched, port: int) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if watched.wait(0.01) is not None:
                return False
            if self.answers(port):
                return watched.wait(0.0) is None
        return False

    def _failure(self, said: str) -> Exception:
        last = " | ".join(said.strip().splitlines()[-4:]) or f"no answer within {START_S:g} s"
        if any(sign in said for sign in ("configuration parameter", "invalid value for", "CONFIG FILE ERROR")):
            return ConfigurationError(f"settings {self.settings}: {self.kind} refuses them ({last}); correct them")
        if self.port and taken(said):
            return ConfigurationError(f"port {self.port}: must be free for {self.kind} ({last}); use another")
        return MissingRequirementError(
            self.kind, f"{self.binaries.program} did not start ({last})", "see the reason it gives"
        )

    def alive(self) -> bool:
        """Whether its process runs."""
        with self._lock:
            return self._watched is not None and self._watched.alive()

    def stop(self, mode: str = "fast") -> None:
        """Stop it in order; the data stay and `start` resumes. `mode` is one of `modes`."""
        if mode not in self.modes:
            raise ConfigurationError(f"stop({mode!r}): must be one of {', '.join(self.modes)}; choose one")
        with self._lock:
            if self._watched:
                self._watched.stop(self.modes[mode])
                emit("server.stopped", kind=self.kind, port=self.port, mode=mode)

    def kill(self, *, everything: bool = True) -> None:
        """SIGKILL on purpose: every process of it at once, or its main process alone; back when that is dead."""
        with self._lock:
            if self._watched:
                self._watched.kill(everything=everything)
                emit("server.killed", kind=self.kind, port=self.port, everything=everything)

    def close(self) -> None:
        """Stop it and remove its folder (unless kept). Can be called again."""
        with self._lock:
            watched, self._watched = self._watched, None
            if watched:
                watched.close()
