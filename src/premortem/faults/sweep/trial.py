"""One trial: fresh state, setup, the command under a fault, recovery, check; and what that comes to.

Law: worst wins. A check that cannot start, does not end or is killed has not judged; and a check that fails although
nothing struck says that the subject is not steady, not that the fault did it.
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
from premortem.faults.sweep.plan import Plan
from premortem.faults.sweep.source import Ended, Sighting, Source, Start
from premortem.model.recipe import Recipe
from premortem.model.sweep import Clean, Outcome, Point, Trial

CLEAN_TIME_S = 120.0
# What is large, ours, or nothing to a trial.
_NOT_COPIED = shutil.ignore_patterns(".git", ".venv", ".premortem", "__pycache__")
_SCRIPTS = (".py", ".sh", ".pl", ".rb", ".js")
# What a shell says of a child that died of SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGFPE or SIGSEGV.
_CRASHED = frozenset(128 + number for number in (4, 5, 6, 7, 8, 11))


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
                return ended, seen, f"without a fault, the command {_told(ended)}"
            check = self._run(self._plan.check, folder, task)
            if check.status:
                return ended, seen, f"without a fault, the check {_told(check)}"
            return ended, seen, ""

    def _try(self, task: Task, folder: Path) -> Answer:
        began = time.monotonic()
        recipe = Recipe.parse(task.recipe)
        trial = Trial(task.recipe, Outcome.UNJUDGED, "", task.detail, task.then, number=task.number)
        if flaw := self._set_up(folder, task):
            return Answer(task.number, replace(trial, evidence=flaw))
        ended = self._sources[recipe.world].strike(self._start(self._plan.command, folder, task), recipe)
        outcome = outcome_of(ended)
        told, strikes, points, complaint = str(ended), ended.strikes, tuple[Point, ...](), ""
        if self._plan.recovery and (ended.killed or ended.timed_out or ended.status):
            if task.then:
                second = self._recover_under(task, folder)
                outcome = worst(outcome, outcome_of(second))
                told, strikes = f"{told}; the recovery {second}", strikes + second.strikes
            last, points = self._recover(task, folder, recipe)
            outcome, complaint = _recovered(outcome, last)
        elif task.then:
            outcome = Outcome.UNSTRUCK
        outcome, evidence = _checked(outcome, complaint, self._run(self._plan.check, folder, task))
        trial = replace(trial, outcome=outcome, ended=told, strikes=strikes, evidence=evidence, output=ended.output)
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
        return f"the setup {_told(ended)}" if ended.status else ""

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


def rooted(argv: tuple[str, ...], folder: Path) -> tuple[str, ...]:
    """The program, and the script of an interpreter, made absolute where they lie in our folder and not in the trial's.

    No other word: a file that the program is told to write must be the trial's own.
    """
    script = next((number for number, word in enumerate(argv) if number and not word.startswith("-")), 0)
    mine = {0} if "/" in argv[0] else set()
    mine |= {script} if argv[script].endswith(_SCRIPTS) else set()
    return tuple(_absolute(word, folder) if number in mine else word for number, word in enumerate(argv))


def _absolute(word: str, folder: Path) -> str:
    return str(Path(word).absolute()) if Path(word).is_file() and not (folder / word).exists() else word


def outcome_of(ended: Ended) -> Outcome:
    """What the end of the command alone comes to."""
    if ended.failed:
        return Outcome.UNJUDGED
    if not ended.strikes:
        return Outcome.UNSTRUCK
    if ended.timed_out:
        return Outcome.HANG
    if ended.killed or not ended.status:
        return Outcome.SURVIVED
    return Outcome.CRASH if ended.status < 0 or ended.status in _CRASHED else Outcome.ERROR


def worst(*outcomes: Outcome) -> Outcome:
    """The most severe."""
    return max(outcomes, key=lambda outcome: outcome.severity)


def difference(one: tuple[Sighting, ...], other: tuple[Sighting, ...]) -> str:
    """Where two clean runs part; empty where they do not."""
    for number, (left, right) in enumerate(itertools.zip_longest(one, other), 1):
        names = [str(seen.recipe) if seen else "nothing more" for seen in (left, right)]
        if names[0] != names[1]:
            return f"operation {number} was {names[0]} in one clean run and {names[1]} in the other"
    return ""


def _recovered(outcome: Outcome, last: Ended) -> tuple[Outcome, str]:
    """What the recovery without a fault adds: whoever does not come back then has not survived."""
    if last.failed:
        return Outcome.UNJUDGED, f"the recovery {_told(last)}"
    if last.timed_out:
        return worst(outcome, Outcome.HANG), f"the recovery {_told(last)}"
    if last.status:
        return Outcome.VIOLATION, f"does not recover: {_told(last)}"
    return outcome, ""


def _checked(outcome: Outcome, complaint: str, check: Ended) -> tuple[Outcome, str]:
    """The last word."""
    if check.failed or check.timed_out or check.status < 0:
        return Outcome.UNJUDGED, f"the check {_told(check)}"
    if not check.status:
        return outcome, complaint
    if outcome is Outcome.UNSTRUCK:
        return Outcome.UNJUDGED, f"nothing struck, and the check does not hold all the same: {_told(check)}"
    if outcome is Outcome.UNJUDGED:
        return outcome, complaint
    return Outcome.VIOLATION, check.output.strip() or f"the check said nothing and ended with exit {check.status}"


def _told(ended: Ended) -> str:
    """How it ended and what it printed last, for a sentence."""
    output = ended.output.strip()
    verb = "ended with " if ended.status >= 0 and not ended.failed else ""
    return f"{verb}{ended}" + (f": {output}" if output else "")
