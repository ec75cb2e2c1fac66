"""How far a sweep is, while it runs: a bar on a terminal, a line for each new class of outcomes anywhere else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from premortem.model.sweep import Outcome, Sweep, Trial
from premortem.report.legible import one_line
from premortem.report.sweep import SYMBOLS, clean, shared
from premortem.report.sweep_text import badge


class Audience(Protocol):
    """Hears how a sweep goes."""

    def planned(self, sweep: Sweep, trials: int) -> None:
        """The clean run is known; so many trials follow."""
        ...

    def tried(self, trial: Trial) -> None:
        """A trial was made."""
        ...


@contextmanager
def live(console: Console) -> Iterator[Audience]:
    """Show the progress; on a terminal the bar goes when it is done: the report says it all."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Bar(progress, progress.add_task("clean runs", total=None))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._total = self._done = 0
        self._told: set[tuple[str, Outcome]] = set()

    def planned(self, sweep: Sweep, trials: int) -> None:
        if not self._total:
            self._print(f"clean run: {clean(sweep)}")
            if caution := shared(sweep):
                self._print(f"! {caution}")
        self._total = trials
        self._print(f"{trials} trials")

    def tried(self, trial: Trial) -> None:
        self._done += 1
        kind = (trial.recipe.partition("#")[0], trial.outcome)
        if kind not in self._told and trial.outcome is not Outcome.SURVIVED:
            self._told.add(kind)
            said = f"{SYMBOLS[trial.outcome]} {trial.outcome.value:<9} {trial.recipes}: {trial.ended}"
            self._print(f"[{self._done}/{self._total}] {said}; {trial.gist}".rstrip("; "))

    def _print(self, line: str) -> None:
        self._console.print(Text(one_line(line)), soft_wrap=True)


class _Bar:
    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task
        self._counts: Counter[Outcome] = Counter()

    def planned(self, sweep: Sweep, trials: int) -> None:
        if sweep.clean is not None and not self._counts:
            self._progress.console.print(Text(one_line(f"clean run: {clean(sweep)}"), "dim"))
            if caution := shared(sweep):
                self._progress.console.print(Text(f"! {one_line(caution)}", "bold yellow"))
        self._progress.update(self._task, total=trials, description="trials")

    def tried(self, trial: Trial) -> None:
        if trial.outcome is Outcome.VIOLATION and not self._counts[trial.outcome]:
            line = Text.assemble(badge(trial.outcome), f" {one_line(f'{trial.recipes}: {trial.gist}', 120)}")
            self._progress.console.print(line)
        self._counts[trial.outcome] += 1
        told = ", ".join(f"{number} {outcome}" for outcome, number in self._counts.most_common())
        self._progress.update(self._task, advance=1, description=one_line(told, 60))
