"""The life of a forked child: prepare, call or become a command, answer, and never run past that."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from premortem.errors import FaultError

Prepare = Callable[[], object]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True, slots=True)
class Life:
    """All that the child has to know, and its life."""

    start: Callable[..., object] | Sequence[str]
    arguments: tuple[object, ...]
    prepare: Prepare | None
    environment: Mapping[str, str]
    folder: Path | None
    answer: int
    output: int

    def live(self) -> NoReturn:
        """Nothing may run past it in a forked copy."""
        try:
            os.setpgid(0, 0)
            os.environ.update(self.environment)
            if self.folder is not None:
                os.chdir(self.folder)
            if self.prepare is not None:
                self.prepare()
            _die_with_parent()  # the last: a change of rights takes it back
            if callable(self.start):
                value = self.start(*self.arguments)
                flush()
                _say(self.answer, returned=True, value=value)
            else:
                _become(self.start, self.output)
        except BaseException as error:  # noqa: BLE001 - it is raised again on the other side
            error.add_note("in a child process:\n" + "".join(traceback.format_tb(error.__traceback__)))
            _say(self.answer, returned=False, value=error)
        os._exit(0)


def _die_with_parent() -> None:
    """Whoever waits for us is the thread that forked us; without it nobody would end us."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _become(command: Sequence[str], output: int) -> None:
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as a shell would start it; Python ignores it
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        os.execvp(command[0], list(command))  # noqa: S606 - starting programs without a shell is our trade
    except OSError as error:
        raise FaultError(f"{command[0]}: cannot be started: {error}; name a program that is there") from error


def flush() -> None:
    """Write what was printed and is still kept in memory."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def _say(answer: int, *, returned: bool, value: object) -> None:
    try:
        message = pickle.dumps((returned, value))
    except Exception as error:  # noqa: BLE001 - whatever pickle meets in a stranger's value
        message = pickle.dumps((False, FaultError(f"{value!r}: cannot leave the child process: {error}; return data")))
    view = memoryview(message)
    while view:
        view = view[os.write(answer, view) :]
