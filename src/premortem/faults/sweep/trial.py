"""One trial: fresh state, setup, the command under a fault, recovery, check; and what that comes to.

Law: what a trial has started and what it has written is gone when the next one begins.
"""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from premortem.faults.sweep import commands
from premortem.faults.sweep.commands import rooted
from premortem.faults.sweep.judging import checked, difference, outcome_of, recovered, told, worst
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.source import Ended, Sighting, Source, Start
from premortem.model.recipe import Recipe
from premortem.model.sweep import Clean, Outcome, Point, Trial

CLEAN_TIME_S = 120.0
# What is large, ours, or nothing to a trial.
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".premortem", "__pycache__")


@dataclass(frozen=True, slots=True)
class Task:
    """A trial to make: `record` also looks at what the recovery does. Without a recipe, the clean runs."""

    number: int
    recipe: str = ""
    detail: str = ""
    then: str = ""
    record: bool = False
    time_s: float = CLEAN_TIME_S


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a task; `points` are those of the clean run, or of the recovery.

    With a negative number nothing can be tried at all: `flaw` says why, `usage` whether it is the user who has to act.
    """

    number: int
    trial: Trial | None = None
    clean: Clean | None = None
    points: tuple[Point, ...] = ()
    flaw: str = ""
    usage: bool = False


class Bench:
    """Makes trials, one after the other, in folders below `scratch`."""

    def __init__(self, plan: Plan, scratch: Path, sources: Mapping[str, Source]) -> None:
        self._plan, self._scratch, self._sources = plan, scratch, sources
        self._names = itertools.count(1)

    def answer(self, task: Task) -> Answer:
        """Do it."""
        kept = commands.children()
        try:
            if not task.recipe:
                return self._measure(task)
            with self._fresh() as folder:
                return self._try(task, folder)
        finally:
            commands.bury_strays(kept)

    def _measure(self, task: Task) -> Answer:
        """Run it twice under each source; the points are those that the first run showed."""
        points: list[Point] = []
        differs, longest, operations = "", 0.0, 0
        ended = Ended(0)
        for source in dict.fromkeys(self._sources.values()):
            runs = []
            for _ in range(2):
                ended, seen, flaw = self._clean(source, task)
                if flaw:
                    return Answer(task.number, flaw=flaw)
                runs.append(seen)
                longest = max(longest, ended.elapsed_s)
            differs = differs or difference(*runs)
            operations += len(runs[0])
            points += source.points(runs[0], self._plan.effects)
        clean = Clean(round(longest, 4), operations, differs, str(ended))
        return Answer(task.number, clean=clean, points=tuple(points))

    def _clean(self, source: Source, task: Task) -> tuple[Ended, tuple[Sighting, ...], str]:
        with self._fresh() as folder:
            if flaw := self._set_up(folder, task):
                return Ended(0), (), flaw
            ended, seen = source.clean(self._start(self._plan.command, folder, task))
            if ended.status:
                return ended, seen, f"without a fault, the command {told(ended)}"
            check = self._run(self._plan.check, folder, task)
            if check.status:
                return ended, seen, f"without a fault, the check {told(check)}"
            return ended, seen, ""

    def _try(self, task: Task, folder: Path) -> Answer:
        began = time.monotonic()
        recipe = Recipe.parse(task.recipe)
        trial = Trial(task.recipe, Outcome.UNJUDGED, "", task.detail, task.then, number=task.number)
        if flaw := self._set_up(folder, task):
            return Answer(task.number, replace(trial, evidence=flaw))
        ended = self._sources[recipe.world].strike(self._start(self._plan.command, folder, task), recipe)
        outcome = outcome_of(ended)
        said, strikes, points, complaint = str(ended), ended.strikes, tuple[Point, ...](), ""
        if self._plan.recovery and (ended.killed or ended.timed_out or ended.status):
            if task.then:
                second = self._recover_under(task, folder)
                outcome = worst(outcome, outcome_of(second))
                said, strikes = f"{said}; the recovery {second}", strikes + second.strikes
            last, points = self._recover(task, folder, recipe)
            outcome, complaint = recovered(outcome, last)
        elif task.then:
            outcome = Outcome.UNSTRUCK
        outcome, evidence = checked(outcome, complaint, self._run(self._plan.check, folder, task))
        trial = replace(trial, outcome=outcome, ended=said, strikes=strikes, evidence=evidence, output=ended.output)
        return Answer(task.number, replace(trial, elapsed_s=round(time.monotonic() - began, 4)), points=points)

    def _recover_under(self, task: Task, folder: Path) -> Ended:
        """The recovery under the second fault."""
        then = Recipe.parse(task.then)
        return self._sources[then.world].strike(self._start(self._plan.recovery, folder, task), then)

    def _recover(self, task: Task, folder: Path, recipe: Recipe) -> tuple[Ended, tuple[Point, ...]]:
        """The recovery without a fault; observed, where the task wants to know its points."""
        if not task.record:
            return self._run(self._plan.recovery, folder, task), ()
        source = self._sources[recipe.world]
        ended, seen = source.clean(self._start(self._plan.recovery, folder, task))
        return ended, source.points(seen, self._plan.effects)

    def _run(self, argv: tuple[str, ...], folder: Path, task: Task) -> Ended:
        return commands.run(self._start(argv, folder, task))

    def _set_up(self, folder: Path, task: Task) -> str:
        """Empty, or why there is nothing to try."""
        if not self._plan.setup:
            return ""
        ended = self._run(self._plan.setup, folder, task)
        return f"the setup {told(ended)}" if ended.status else ""

    @contextmanager
    def _fresh(self) -> Iterator[Path]:
        """A copy of the folder, or an empty one; gone afterwards."""
        folder = self._scratch / f"trial-{next(self._names)}"
        try:
            if self._plan.folder:
                shutil.copytree(self._plan.folder, folder, symlinks=True, ignore=_NOT_COPIED)
            else:
                folder.mkdir()
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, argv: tuple[str, ...], folder: Path, task: Task) -> Start:
        told = {"PREMORTEM_SWEEP_FOLDER": str(folder), "PREMORTEM_SWEEP_POINT": task.recipe}
        # A cache that the first run writes and the second finds would make their operations differ.
        return Start(rooted(argv, folder), folder, {"PYTHONDONTWRITEBYTECODE": "1", **os.environ, **told}, task.time_s)
