"""A sweep from start to end: measure clean runs, enumerate the points, try each, and say what was found.

Prior art: SQLite's anomaly tests (fail the Nth operation, once and from N on, until a run ends unstruck), Filibuster
(equal points are one).
"""

from __future__ import annotations

import os
import platform
import shlex
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from premortem import __version__
from premortem.errors import ConfigurationError, PremortemError
from premortem.faults.strike import lifted, struck
from premortem.faults.sweep.crew import Crew
from premortem.faults.sweep.order import ordered, within
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.record import FILE, RecordWriter
from premortem.faults.sweep.trial import CLEAN_TIME_S, Answer, Task
from premortem.model.recipe import Recipe
from premortem.model.run import Fact
from premortem.model.sweep import Point, Sweep, Trial
from premortem.ports import Clock, SystemClock

_LEAST_TIME_S, _TIMES_CLEAN = 5.0, 10.0


class Audience(Protocol):
    """Whoever watches a sweep."""

    def planned(self, sweep: Sweep, trials: int) -> None:
        """The clean run is known; so many trials follow (more, when recoveries are struck as well)."""
        ...

    def tried(self, trial: Trial) -> None:
        """A trial was made."""
        ...


class Nobody:
    """An audience that does not listen."""

    def planned(self, sweep: Sweep, trials: int) -> None:
        """Nothing."""

    def tried(self, trial: Trial) -> None:
        """Nothing."""


def sweep(
    plan: Plan, audience: Audience | None = None, *, records: Path | None = None, clock: Clock | None = None
) -> Sweep:
    """Carry it out. What is found before Ctrl-C or SIGTERM is kept: `ended` then says what cut it off.

    `records`: a folder for the record is made below it. ConfigurationError where the plan does not fit this machine.
    """
    clock = clock or SystemClock()
    begun, started = clock.monotonic(), clock.now()
    name = f"{started:%Y%m%d-%H%M%S}-{plan.seed:x}-{os.getpid():x}"
    head = Sweep(
        name,
        started.isoformat(timespec="seconds"),
        plan.seed,
        plan.jobs,
        arguments(plan),
        plan.allow_hang,
        _facts(plan),
    )
    if plan.folder and not Path(plan.folder).is_dir():
        raise ConfigurationError(f"--folder {plan.folder}: is no folder; name one that is copied for each trial")
    with ExitStack() as stack:
        writer = _writer(stack, records, head)
        under_way = _UnderWay(plan, audience or Nobody(), writer, head)
        try:
            under_way.carry_out(stack.enter_context(Crew(plan)))
            ended = "complete"
        except (KeyboardInterrupt, SystemExit) as error:
            ended = f"cut off by {_cause(error)}"
        except PremortemError as error:
            if under_way.found.clean is None:
                raise
            ended = f"cut off by {type(error).__name__}: {error}"
        found = replace(under_way.found, ended=ended, elapsed_s=round(clock.monotonic() - begun, 3))
        if writer is not None:
            writer.end(found)
    return found


@dataclass(slots=True)
class _UnderWay:
    """What is known so far."""

    plan: Plan
    audience: Audience
    writer: RecordWriter | None
    found: Sweep

    def carry_out(self, crew: Crew) -> None:
        measured = next(iter(crew.work([Task(0, time_s=CLEAN_TIME_S)])))
        if measured.flaw or measured.clean is None:
            self.found = replace(self.found, flaw=measured.flaw)
            return
        if self.plan.effects and measured.clean.operations and not measured.points:
            told = ",".join(self.plan.effects)
            raise ConfigurationError(f"--effects {told}: suits nothing that is watched; leave it out to see what does")
        time_s = self.plan.time_s or max(_LEAST_TIME_S, _TIMES_CLEAN * measured.clean.elapsed_s)
        chosen = self._chosen(measured.points)
        points = len(chosen) if self.plan.at else len(measured.points)
        self.found = replace(self.found, clean=measured.clean, points=points, left_out=points - len(chosen))
        if self.writer:
            self.writer.planned(self.found)
        self.audience.planned(self.found, len(chosen))
        asked = [
            Task(number, str(point.recipe), point.detail, self.plan.then, self.plan.compound, time_s)
            for number, point in enumerate(chosen, 1)
        ]  # fmt: skip
        followed = list(self._noted(crew.work(asked), asked))
        if self.plan.compound:
            again = self._seconds(followed)
            self.audience.planned(self.found, len(asked) + len(again))
            for _ in self._noted(crew.work(again), again):
                pass

    def _chosen(self, points: tuple[Point, ...]) -> list[Point]:
        if self.plan.at:
            recipe = Recipe.parse(self.plan.at)
            details = {str(point.recipe): point.detail for point in points}
            return [Point(recipe, details.get(str(recipe), ""))]
        return within(ordered(points), self.plan.budget, self.plan.seed)

    def _noted(self, answers: Iterator[Answer], tasks: Sequence[Task]) -> Iterator[tuple[Task, Answer]]:
        by_number = {task.number: task for task in tasks}
        for answer in answers:
            if (trial := answer.trial) is None:
                continue
            self.found = replace(self.found, trials=(*self.found.trials, trial))
            if self.writer:
                self.writer.trial(trial)
            self.audience.tried(trial)
            for strike in trial.strikes:
                struck("sweep", strike)
                lifted("sweep", strike)
            yield by_number[answer.number], answer

    def _seconds(self, followed: Sequence[tuple[Task, Answer]]) -> list[Task]:
        """A second fault in the recovery, for one trial of each class: the rest would only say the same again."""
        firsts = {one.first for one in self.found.classes}
        points = [
            (task, point) for task, answer in followed if answer.trial in firsts for point in ordered(answer.points)
        ]
        if budget := self.plan.budget:
            allowed = points[: max(0, budget - len(followed))]
            self.found = replace(self.found, left_out=self.found.left_out + len(points) - len(allowed))
        else:
            allowed = points
        self.found = replace(self.found, points=self.found.points + len(points))
        return [
            replace(task, number=number, then=str(point.recipe), record=False)
            for number, (task, point) in enumerate(allowed, len(followed) + 1)
        ]


def _cause(error: KeyboardInterrupt | SystemExit) -> str:
    """The signal behind it, where there is one."""
    number = error.code - 128 if isinstance(error, SystemExit) and isinstance(error.code, int) else 0
    return signal.Signals(number).name if number in signal.valid_signals() else type(error).__name__


def arguments(plan: Plan) -> tuple[str, ...]:
    """The options that make the same world again, and the command; not which point, nor how many at a time."""
    told: list[str] = []
    for option, words in (("--check", plan.check), ("--setup", plan.setup), ("--recover", plan.recover)):
        told += [option, shlex.join(words)] if words else []
    told += [word for word, given in (("--restart", plan.restart), ("--from-mark", plan.from_mark)) if given]
    for option, value in (("--folder", plan.folder), ("--watch", ",".join(plan.watch))):
        told += [option, value] if value else []
    for option, values in (("--wire", plan.wires), ("--call", plan.calls)):
        told += [word for value in values for word in (option, value)]
    told += ["--time-limit", f"{plan.time_s:g}"] if plan.time_s else []
    told += ["--allow-hang"] if plan.allow_hang else []
    return (*told, "--", *plan.command)


def _writer(stack: ExitStack, records: Path | None, head: Sweep) -> RecordWriter | None:
    if records is None:
        return None
    folder = records / head.id
    try:
        folder.mkdir(parents=True)
        stream = stack.enter_context((folder / FILE).open("w", encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            f"{records}: the record of a sweep has to be written there ({error.strerror}); run in a folder of yours"
        ) from error
    return RecordWriter(stream, head)


def _facts(plan: Plan) -> tuple[Fact, ...]:
    facts = (
        Fact("premortem", __version__),
        Fact("python", platform.python_version()),
        Fact("platform", f"{platform.system()} {platform.release()} {platform.machine()}"),
    )
    if not plan.watch:
        return facts
    from premortem.faults.sweep.syscall_source import limits  # noqa: PLC0415 - the filters, only where wanted

    return (*facts, Fact("left out", why)) if (why := limits()) else facts
