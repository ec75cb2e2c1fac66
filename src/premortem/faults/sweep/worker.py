"""One worker of a sweep, a process of its own: reads a task a line, makes the trial, writes its answer.

    python -m premortem.faults.sweep.worker PLAN SCRATCH

Law: it ends when its input does, at SIGTERM, and when its owner dies; whichever it is, what it has started ends first,
and its folder goes.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from types import FrameType

from premortem.errors import ConfigurationError, MissingRequirementError, PremortemError
from premortem.faults.sweep import commands
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.sources import opened
from premortem.faults.sweep.trial import Answer, Bench, Task
from premortem.model.codec import decode, encode


def main() -> None:
    """Work until there is no more to do."""
    signal.signal(signal.SIGTERM, _end)
    commands.adopt_orphans()
    plan, scratch = decode(Plan, json.loads(sys.argv[1])), Path(sys.argv[2])
    channel = os.dup(1)
    os.dup2(2, 1)  # nothing but answers may go out there
    scratch.mkdir()
    tempfile.tempdir = str(scratch)
    try:
        _serve(plan, scratch, channel)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # we are on our way out
        commands.bury_strays(())
        shutil.rmtree(scratch, ignore_errors=True)
        with suppress(OSError):  # the last one out; the owner may be dead
            scratch.parent.rmdir()


def _serve(plan: Plan, scratch: Path, channel: int) -> None:
    try:
        with opened(plan) as sources:
            bench = Bench(plan, scratch, sources)
            for line in sys.stdin.buffer:
                _write(channel, bench.answer(decode(Task, json.loads(line))))
    except PremortemError as error:
        _write(
            channel, Answer(-1, flaw=str(error), usage=isinstance(error, ConfigurationError | MissingRequirementError))
        )


def _write(channel: int, answer: Answer) -> None:
    line = json.dumps(encode(answer)).encode() + b"\n"
    while line:
        line = line[os.write(channel, line) :]


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    main()
