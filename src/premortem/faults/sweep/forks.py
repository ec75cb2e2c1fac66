"""The sweep in Python, for exhibits and tests: a function is failed at each of its operations, and you judge.

    for crash in every_crash(save, path, state, folder=folder):
        load(path)                    # what the next start would do; crash.recipe says where it died

    for state in every_power_loss(save, path, state, folder=folder):
        load(path)                    # the folder is as a power failure may leave it; state.name says when

Law: each run begins with the folder as it was, and in a fork of this process; the loop ends when a run ends unstruck.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults import power_loss, syscalls
from premortem.faults.power_loss import DiskState
from premortem.faults.strike import lifted
from premortem.faults.sweep.judging import outcome_of
from premortem.faults.sweep.snapshot import snapshot
from premortem.faults.sweep.source import Ended
from premortem.faults.sweep.syscall_source import KILLED, require, suits
from premortem.model.recipe import Recipe
from premortem.model.sweep import Outcome


@dataclass(frozen=True, slots=True)
class Crash:
    """One run that was struck: by what, at which operation, and how it ended. `folder` is as it was left."""

    recipe: Recipe
    operation: str
    outcome: Outcome
    status: int
    output: str

    def __str__(self) -> str:
        return f"{self.recipe} ({self.operation})"


def every_crash(  # noqa: PLR0913 - by keyword only, each with a default
    function: Callable[..., object],
    *args: object,
    folder: Path,
    effects: Collection[str] = ("kill",),
    watch: Collection[str] = ("file",),
    onward: bool = False,
    time_s: float = 10.0,
) -> Iterator[Crash]:
    """Call `function(*args)` in a fork, with one of `effects` at its 1st, 2nd, 3rd ... operation, and yield each end.

    `folder` is its current folder, and is put back before each run. `onward`: from the Nth on. `time_s`: seconds, after
    which it is a hang. MissingRequirementError where system calls cannot be intercepted.
    """
    require()
    with snapshot(folder) as before:
        for effect in effects:
            for nth in itertools.count(1):
                before.restore()
                crash = _run(lambda: function(*args), folder, _Nth(nth, effect, onward), tuple(watch), time_s)
                if crash is None:
                    break
                yield crash
        before.restore()


class _Nth:
    """Strikes the Nth of the operations that an effect can happen to, whatever it is."""

    def __init__(self, nth: int, effect: str, onward: bool) -> None:  # noqa: FBT001 - internal
        self._left, self._effect, self._onward = nth, effect, onward
        self.first: syscalls.Operation | None = None
        self.recipe: Recipe | None = None

    def __call__(self, operation: syscalls.Operation) -> syscalls.Decision:
        if not suits(self._effect, operation):
            return syscalls.GO
        self._left -= 1
        if self._left > 0 or (self._left < 0 and not self._onward):
            return syscalls.GO
        if self.first is None:
            what, number = ("*", operation.index) if self._onward else (operation.call, operation.nth)
            self.first, self.recipe = operation, Recipe("syscall", what, number, self._onward, effect=self._effect)
        return syscalls.decide_by(Recipe("syscall", "*", 1, effect=self._effect))(operation)


def _run(
    function: Callable[[], object], folder: Path, nth: _Nth, watch: tuple[str, ...], time_s: float
) -> Crash | None:
    """One run; None where nothing was left to strike."""
    ran = syscalls.run(function, nth, watch=watch, time_s=time_s, folder=folder)
    if nth.recipe is None:
        return None
    killed = any(isinstance(one.decision, syscalls.Kill) for one in ran.struck) and ran.status in KILLED
    told = tuple(str(one.operation) for one in ran.struck)
    for operation in told:
        lifted("system call", operation)  # it went with the run; that it struck has been told
    ended = Ended(ran.status, ran.timed_out, ran.output, ran.elapsed_s, told, killed=killed)
    return Crash(nth.recipe, str(nth.first), outcome_of(ended), ran.status, ran.output)


def every_power_loss(
    function: Callable[..., object], *args: object, folder: Path, time_s: float = 10.0
) -> Iterator[DiskState]:
    """Call `function(*args)` in a fork once, and make of `folder` each state in which a power failure may leave it.

    Only what was synced is taken for granted. FaultError where the function does not end well without a fault.
    """
    require()
    begun = power_loss.snapshot(folder)
    with snapshot(folder) as before:
        ran = syscalls.run(
            lambda: function(*args), watch=("file",), record_data=True, time_s=time_s, folder=folder
        )  # fmt: skip
        if ran.status or ran.timed_out:
            raise FaultError(
                f"{function}: has to end well before its power is cut; it ended with {ran.status}: {ran.output}"
            )
        for state in power_loss.disk_states(ran.operations, begun):
            before.clear()
            state.write_to(folder)
            yield state
            lifted("power loss", state.name)
        before.restore()
