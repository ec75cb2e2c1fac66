"""Somewhere that functions and commands can be run, and that a child process has to be put into first."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Self, TypeVar, overload

from premortem.faults import children
from premortem.faults.children import Ended

T = TypeVar("T")


class Inside:
    """A block that owns such a place, and `run` for it; who inherits says how a child enters it."""

    def enter(self) -> None:
        """Put this process inside, for good. Called in a child."""
        raise NotImplementedError

    def looked(self) -> None:
        """Called here after each run: tell what it has struck."""

    def close(self) -> None:
        """Let go of it. Can be called again."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @overload
    def run(
        self, start: Sequence[str], *, time_s: float = ..., environment: Mapping[str, str] | None = ...
    ) -> Ended: ...

    @overload
    def run(
        self,
        start: Callable[..., T],
        *arguments: object,
        time_s: float = ...,
        environment: Mapping[str, str] | None = ...,
    ) -> T: ...

    def run(
        self,
        start: Callable[..., T] | Sequence[str],
        *arguments: object,
        time_s: float = 30.0,
        environment: Mapping[str, str] | None = None,
    ) -> T | Ended:
        """Run a function (forked) or a command inside, for `time_s` seconds at most; as `children.run`."""
        try:
            if callable(start):
                return children.run(start, *arguments, prepare=self.enter, time_s=time_s, environment=environment)
            return children.run(start, prepare=self.enter, time_s=time_s, environment=environment)
        finally:
            self.looked()

    @contextmanager
    def started(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A command that goes on inside (a server) until the block ends; then it and all that it started are killed.

        `stdin` and `stdout` are as for `subprocess.Popen`.
        """
        with children.forking():
            process = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=stdin,
                stdout=stdout,
                start_new_session=True,
                preexec_fn=self.enter,  # noqa: PLW1509 - a namespace can be entered in no other way
            )
        try:
            with process:
                try:
                    yield process
                finally:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)
        finally:
            self.looked()
