"""Plays both variants of every exhibit, each in a process of its own, and proves as the answers come in."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, field
from pathlib import Path

from premortem.errors import ConfigurationError, MissingRequirementError, WorkerDiedError
from premortem.experiment.hosts import Hosts
from premortem.experiment.isolation import IsolatedFuture, IsolatingExecutor
from premortem.experiment.observing import Seen, observe
from premortem.experiment.play import STACK, STORY, Order, play
from premortem.experiment.proof import prove
from premortem.experiment.story import read_story
from premortem.model import FailureMode, Observation, Proof, Variant
from premortem.ports import derived_seed

VARIANTS: tuple[Variant, ...] = ("broken", "fixed")


@dataclass
class Runner:
    """One run. `folder` is its scratch; `executor` runs the variants; `hosts` provides the servers."""

    folder: Path
    seed: int
    time_s: float
    executor: IsolatingExecutor
    hosts: Hosts
    _played: dict[IsolatedFuture[None], tuple[FailureMode, Order]] = field(default_factory=dict)
    # By path: two folders of one name may hold exhibits of one name.
    _seen: dict[str, dict[Variant, Seen]] = field(default_factory=dict)

    def run(self, modes: Sequence[FailureMode]) -> Iterator[Proof]:
        """The proofs, in the order in which they come to an end."""
        for number, mode in enumerate(modes):
            if mode.flaw:
                yield self._unplayed(mode, flaw=mode.flaw)
                continue
            try:
                self._submit(mode, number)
            except MissingRequirementError as error:
                yield self._unplayed(mode, missing=str(error))
        while self._played:
            done, _ = wait(self._played, return_when=FIRST_COMPLETED)
            for future in done:
                assert isinstance(future, IsolatedFuture)
                mode, order = self._played.pop(future)
                both = self._seen.setdefault(mode.path, {})
                both[order.variant] = self._collect(future, order)
                if len(both) == len(VARIANTS):
                    yield self._prove(mode, both["broken"], both["fixed"])

    def _submit(self, mode: FailureMode, number: int) -> None:
        orders = [self._order(mode, variant, number) for variant in VARIANTS]
        for order in orders:
            Path(order.folder).mkdir(mode=0o711)  # a server of another user may live inside, and has to get there
            future = self.executor.submit_named(task_of(mode.name, order.variant), play, order)
            self._played[future] = (mode, order)

    def _order(self, mode: FailureMode, variant: Variant, number: int) -> Order:
        folder = self.folder / f"{number:03}-{mode.slug}-{variant}"
        places = self.hosts.places(mode, f"{number:03}_{variant}")
        seed = derived_seed(self.seed, mode.name)
        return Order(mode.path, variant, seed, self.time_s, str(folder), places)

    def _collect(self, future: IsolatedFuture[None], order: Order) -> Seen:
        """Read what one variant left, and clear it away. One that cannot be read spoils nobody else's proof."""
        folder, ending = Path(order.folder), future.ending
        try:
            seen = _observed(future, order.variant, folder)
        except ConfigurationError as flaw:
            observation = Observation(order.variant, flaw=f"{flaw}", output=ending.output, elapsed_s=ending.elapsed_s)
            seen = Seen(None, observation)
        shutil.rmtree(folder, ignore_errors=True)  # what an exhibit made undeletable goes with the run's own folder
        self.hosts.release(order.places)
        return seen

    def _prove(self, mode: FailureMode, broken: Seen, fixed: Seen) -> Proof:
        prediction = broken.prediction or fixed.prediction
        return prove(mode, prediction, broken.observation, fixed.observation, self._command(mode))

    def _unplayed(self, mode: FailureMode, *, flaw: str = "", missing: str = "") -> Proof:
        broken, fixed = (Observation(variant, flaw=flaw, missing=missing) for variant in VARIANTS)
        return prove(mode, None, broken, fixed, self._command(mode))

    def _command(self, mode: FailureMode) -> str:
        return f"premortem prove {shlex.quote(mode.path)} --seed {self.seed}"


def _observed(future: IsolatedFuture[None], variant: Variant, folder: Path) -> Seen:
    """What a variant showed. ConfigurationError where it left nothing that can be read."""
    error = future.exception()
    if error is not None and not isinstance(error, WorkerDiedError):
        if future.ending.status is None:
            raise error  # ours: its process never began
        raise ConfigurationError(f"its process could not be played to the end: {type(error).__name__}: {error}")
    return observe(variant, read_story(folder / STORY), _stack(folder / STACK), future.ending)


def _stack(path: Path) -> str:
    """What the hang watch wrote down, if it had cause to."""
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def task_of(mode: str, variant: Variant) -> str:
    """How a variant's task is called in errors: `ingest/missing-file (broken)`."""
    return f"{mode} ({variant})"


def mode_of(task: str) -> str:
    """The failure mode's name in a task's."""
    return task.rpartition(" (")[0]
