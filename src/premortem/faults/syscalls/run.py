"""Run a program, or a callable, with every watched system call of it decided upon; and how that ended.

Law: the whole family is dead when `run` returns, however it returns.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.faults.syscalls import bpf, structs
from premortem.faults.syscalls.calls import numbered
from premortem.faults.syscalls.decisions import GO, Decision
from premortem.faults.syscalls.descriptors import Descriptors
from premortem.faults.syscalls.effects import Struck
from premortem.faults.syscalls.launch import Launch, Start, launch
from premortem.faults.syscalls.operations import Operation
from premortem.faults.syscalls.reading import Reader
from premortem.faults.syscalls.supervisor import Decide, Supervisor

FAMILIES = frozenset({"file", "socket", "read"})
MACHINES = ("x86_64", "aarch64")
_LONGEST_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How it went. `status` is the exit code, or minus the signal; `output` the last of what was printed."""

    status: int
    timed_out: bool
    operations: tuple[Operation, ...]
    struck: tuple[Struck, ...]
    output: str
    elapsed_s: float


def go(_: Operation) -> Decision:
    """Let everything take place: a clean run."""
    return GO


def run(  # noqa: PLR0913 - by keyword only, each with a default
    start: Start,
    decide: Decide = go,
    *,
    watch: Collection[str] = ("file", "socket"),
    record_data: bool = False,
    time_s: float = 10.0,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    from_mark: bool = False,
    told: bool = True,
) -> Ended:
    """Start it (a list: no shell; a callable: forked), and answer each of its watched calls by `decide`.

    `watch`: "file" (what changes files), "socket", "read" (files that are read, too). `record_data`: keep the bytes
    that are written. After `time_s` seconds all is killed, and `timed_out` says so. `folder`: where it works, and what
    targets are relative to. `environment`: the whole of it. `from_mark`: nothing counts until it calls `arm()`.
    `told`: strikes are events, for whoever listens.

    ConfigurationError for an argument; MissingRequirementError where this machine has no such thing; FaultError where
    a decision cannot be carried out. What `decide` raises ends the run.
    """
    began, machine = time.monotonic(), platform.machine()
    families = _families(watch)
    if not 0 < time_s <= _LONGEST_S:
        raise ConfigurationError(f"time_s={time_s!r}: has to be above 0 and up to {_LONGEST_S:g}; it is seconds")
    if sys.platform != "linux" or machine not in MACHINES:
        here = f"those of {sys.platform} on {machine} cannot be intercepted"
        raise MissingRequirementError("system calls", here, f"use Linux on {' or '.join(MACHINES)}")
    calls, where = numbered(families, machine), (folder or Path.cwd()).resolve()
    blank = bytes(max(structs.NOTIFICATION.size, structs.sizes(machine)[0]))
    filter_ = bpf.program(calls, machine, every_open="read" in families)
    reader = Reader(Descriptors(str(where)), families, record_data)
    started = launch(Launch(start, filter_, machine, where, environment, time_s))
    supervisor = Supervisor(started, calls, reader, decide, blank, armed=not from_mark, told=told)
    try:
        supervisor.serve(began + time_s)
    finally:
        supervisor.close()
    return _ended(supervisor, time.monotonic() - began)


def _families(watch: Collection[str]) -> frozenset[str]:
    families = frozenset({watch} if isinstance(watch, str) else watch)
    if not families or not families <= FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ConfigurationError(f"watch={watch!r}: has to be among {known}; leave it out for files and sockets")
    return families


def _ended(supervisor: Supervisor, elapsed_s: float) -> Ended:
    assert supervisor.status is not None
    return Ended(
        supervisor.status,
        supervisor.timed_out,
        tuple(supervisor.operations),
        tuple(supervisor.strikes),
        str(supervisor.output),
        elapsed_s,
    )
