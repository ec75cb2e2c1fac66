"""A command that ends as it is told: a script of its name, first on PATH for the block.

Whatever starts the command by its name (this process and its children) gets the stand-in: an exit status, a signal,
an output, a delay; for the first few calls only, where a retry is to be seen. Every call is written down.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck

_LARGEST = 255
_SCRIPT = """#!/bin/sh
echo "$*" >> {log}
if [ {first} -gt 0 ] && [ $(wc -l < {log}) -gt {first} ]; then exec {real} "$@"; fi
{wait}
printf %s {output}
printf %s {error} >&2
{end}
"""


@dataclass
class StandIn:
    """What stands in for a command, and who has called it."""

    name: str
    log: Path
    what: str
    told: bool = False

    @property
    def calls(self) -> tuple[str, ...]:
        """The arguments of each call so far, in one line each; the first that is seen here is told as the strike."""
        calls = tuple(self.log.read_text(encoding="utf-8", errors="replace").splitlines())
        if calls and not self.told:
            self.told = True
            struck("stand-in", f"{self.name} {calls[0]}: {self.what}")
        return calls


@contextmanager
def ends(  # noqa: PLR0913 - what a command shows of itself; each by name
    name: str, status: int = 1, *, output: str = "", error: str = "", after_s: float = 0.0, first: int | None = None
) -> Iterator[StandIn]:
    """`name` ends with exit `status` (0 to 255), or by a signal where it is below 0 (-9 is SIGKILL).

    `output` and `error` is what it writes, `after_s` how many seconds it takes; after the `first` so many calls the
    real command takes over. Not struck: who starts it by its full path, or with a PATH of his own.
    """
    real = shutil.which(name)
    if os.sep in name or not name:
        raise FaultError(f"{name!r}: is a path, and what has one cannot be stood in for; name a command on PATH")
    if first is not None and (first < 1 or real is None):
        raise FaultError(f"{name}, first={first}: has to be 1 or more, and a command that is there to take over")
    what = _words(status, after_s)
    with tempfile.TemporaryDirectory(prefix="premortem-stand-in-") as folder:
        stand_in = StandIn(name, Path(folder) / ".calls", what)
        stand_in.log.touch()
        script = Path(folder) / name
        script.write_text(
            _SCRIPT.format(
                log=shlex.quote(str(stand_in.log)),
                first=first or 0,
                real=shlex.quote(real or ""),
                wait=f"sleep {after_s:f}" if after_s > 0 else ":",
                output=shlex.quote(output),
                error=shlex.quote(error),
                end=f"exit {status}" if status >= 0 else f"kill -{-status} $$",
            ),
            encoding="utf-8",
        )
        script.chmod(0o755)
        try:
            with _first_on_path(folder):
                yield stand_in
        finally:
            _ = stand_in.calls  # the last look before it goes
            lifted("stand-in", name)


@contextmanager
def _first_on_path(folder: str) -> Iterator[None]:
    before = os.environ.get("PATH")
    os.environ["PATH"] = f"{folder}{os.pathsep}{before or os.defpath}"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PATH"]
        else:
            os.environ["PATH"] = before


def _words(status: int, after_s: float) -> str:
    if not -signal.NSIG < status <= _LARGEST or after_s < 0:
        raise FaultError(
            f"status={status}, after_s={after_s}: has to be an exit status from 0 to {_LARGEST} or minus a signal's "
            "number, after 0 or more seconds"
        )
    end = f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
    return f"{end} after {after_s:g} s" if after_s else end
