"""Points at system calls of any program on Linux: killed there, told an error, half done, or cut off."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.faults import syscalls
from premortem.faults.sweep.effects import once, once_and_onward
from premortem.faults.sweep.source import Ended, Sighting, Start
from premortem.model.recipe import Recipe
from premortem.model.sweep import Point

DEFAULTS = ("kill", "EIO", "ENOSPC", "short", "sever", "ECONNREFUSED")
# What strikes once and not from there on: the dead make no more calls, and nobody is interrupted for ever. A program
# that tries again, as it has to, would never end, and be told to hang.
_ONCE = frozenset({"kill", "kill all", "EINTR", "EAGAIN", "EWOULDBLOCK"})
_TOLD = 100  # strikes of one run: a program that tries again without end has some hundred thousand
_ALLOCATES = frozenset(
    {"open", "write", "pwrite", "writev", "pwritev", "sendfile", "copy_file_range", "fallocate"}
    | {"rename", "mkdir", "link", "symlink"}
)
_ONLY_OF = {"ENOSPC": _ALLOCATES, "EDQUOT": _ALLOCATES, "ECONNREFUSED": frozenset({"connect"})}
_OF_FILES = frozenset({"EIO", "EDQUOT", "ENOSPC", "EROFS", "drop"})
_OF_CONNECTIONS = frozenset({"ECONNRESET", "ECONNABORTED", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH"})
_TAKES_DESCRIPTORS = frozenset({"short", "drop", "sever"}) | _OF_CONNECTIONS
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)  # the second is what a shell says of a child


@dataclass(slots=True, eq=False)
class SyscallSource:
    """Sees and strikes the calls of the families `watch`, in the program and in all that it starts."""

    watch: tuple[str, ...]
    from_mark: bool = False
    _seen: dict[Sighting, syscalls.Operation] = field(default_factory=dict)  # of every clean run: no two need be alike

    def __enter__(self) -> Self:
        require()
        return self

    def __exit__(self, *_: object) -> None: ...

    def clean(self, start: Start) -> tuple[Ended, tuple[Sighting, ...]]:
        """Each watched call is a sighting."""
        ended, seen = self._run(start, lambda _: syscalls.GO)
        sightings = {Sighting(Recipe("syscall", one.call, one.nth), detail(one)): one for one in seen}
        self._seen.update(sightings)
        return ended, tuple(sightings)

    def points(self, seen: tuple[Sighting, ...], effects: tuple[str, ...]) -> tuple[Point, ...]:
        """Before each call that was seen, every effect that can happen to it."""
        points: list[Point] = []
        for one in seen:
            for effect in effects or DEFAULTS:
                if suits(effect, self._seen[one]):
                    points += once(one, "before", effect) if effect in _ONCE else once_and_onward(one, "before", effect)
        return tuple(points)

    def strike(self, start: Start, recipe: Recipe) -> Ended:
        """Run it under `recipe`."""
        return self._run(start, syscalls.decide_by(recipe))[0]

    def _run(
        self, start: Start, decide: Callable[[syscalls.Operation], syscalls.Decision]
    ) -> tuple[Ended, tuple[syscalls.Operation, ...]]:
        try:
            ran = syscalls.run(
                start.argv, decide, watch=self.watch, time_s=start.time_s, folder=start.folder,
                environment=start.environment, from_mark=self.from_mark,
            )  # fmt: skip
        except ConfigurationError as error:
            return Ended(127, failed=str(error)), ()
        strikes = tuple(dict.fromkeys(str(one.operation) for one in ran.struck[:_TOLD]))
        ours = any(isinstance(one.decision, syscalls.Kill) for one in ran.struck) and ran.status in KILLED
        ended = Ended(ran.status, ran.timed_out, ran.output, ran.elapsed_s, strikes, killed=ours and not ran.timed_out)
        return ended, ran.operations


def require() -> None:
    """MissingRequirementError where system calls cannot be intercepted."""
    if why := syscalls.why_not():
        raise MissingRequirementError("the sweep of system calls", why, "sweep --wire or --call, which work anywhere")


@functools.cache
def limits() -> str:
    """Why some effects cannot be had here, though calls can be intercepted; empty where all can."""
    why = "" if syscalls.why_not() else syscalls.why_not_all()
    return f"no {', '.join(sorted(_TAKES_DESCRIPTORS))}: {why}" if why else ""


def suits(effect: str, operation: syscalls.Operation) -> bool:
    """Whether that happens to such a call outside of a test."""
    connected = operation.kind == "socket"
    if effect in _TAKES_DESCRIPTORS and limits():
        return False
    if (connected and effect in _OF_FILES) or (not connected and effect in _OF_CONNECTIONS):
        return False
    if effect in _ONLY_OF:
        return operation.call in _ONLY_OF[effect]
    recipe = Recipe("syscall", operation.call, operation.nth, effect=effect)
    try:
        decision = syscalls.decide_by(recipe).decision
    except ConfigurationError:  # an effect of another world
        return False
    return syscalls.can_strike(decision, operation)


def detail(operation: syscalls.Operation) -> str:
    """What the call is about, in words."""
    told = f"{operation.target} -> {operation.to}" if operation.to else operation.target
    return f"{told}, {operation.size} bytes" if operation.size is not None else told
