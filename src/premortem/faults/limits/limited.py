"""A function or a command run in a child that has little: memory, descriptors, processes, room in a file."""

from __future__ import annotations

import contextvars
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, overload

from premortem.errors import FaultError
from premortem.faults import children
from premortem.faults.children import Ended
from premortem.faults.limits.soft import held_to_threads, move, refuse_no_change
from premortem.faults.strike import lifted, struck

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limited:
    """What a child may have: bytes of address space, bytes a file, descriptors, processes and threads of its user.

    None leaves a limit as it is. Memory counts from nothing: an interpreter takes some 30 MB, a fork of this process
    what this process has (`limits.mapped_bytes()`).
    """

    memory_bytes: int | None = None
    file_bytes: int | None = None
    descriptors: int | None = None
    processes: int | None = None

    def impose(self) -> None:
        """Put them on this process. Called in a child."""
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a file too large is an error then (EFBIG), not a death
        for name, value in self.wanted().items():
            move(0, name, value)

    def wanted(self) -> dict[str, int]:
        """The limits by the kernel's names."""
        values = {
            "RLIMIT_FSIZE": self.file_bytes,
            "RLIMIT_NOFILE": self.descriptors,
            "RLIMIT_NPROC": self.processes,
            "RLIMIT_AS": self.memory_bytes,  # the last: to set the others takes memory
        }
        return {name: value for name, value in values.items() if value is not None}

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.wanted().items())


@overload
def run(
    start: Sequence[str], *, limited: Limited, time_s: float = ..., environment: Mapping[str, str] | None = ...
) -> Ended: ...


@overload
def run(
    start: Callable[..., T],
    *arguments: object,
    limited: Limited,
    time_s: float = ...,
    environment: Mapping[str, str] | None = ...,
) -> T: ...


def run(
    start: Callable[..., T] | Sequence[str],
    *arguments: object,
    limited: Limited,
    time_s: float = 10.0,
    environment: Mapping[str, str] | None = None,
) -> T | Ended:
    """Run a function (forked) or a command in a child under limits; as `children.run`.

    What a function tells (`events`) under a limit on the size of files is not heard: listeners write files too.
    """
    if limited == Limited():
        raise FaultError(f"{limited!r}: limits nothing; name at least one limit, as in Limited(descriptors=20)")
    if limited.processes is not None:
        held_to_threads()
    for name, value in limited.wanted().items():
        refuse_no_change(0, name, value)
    struck("limits", f"a child has {limited}")
    try:
        if not callable(start):
            return children.run(start, prepare=limited.impose, time_s=time_s, environment=environment)
        if limited.file_bytes is not None:
            arguments, start = (start, *arguments), cast("Callable[..., T]", contextvars.Context().run)
        return children.run(start, *arguments, prepare=limited.impose, time_s=time_s, environment=environment)
    finally:
        lifted("limits", f"{limited}")
