"""What to sweep, and how: the options of `premortem sweep` as one frozen record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from premortem.errors import ConfigurationError
from premortem.faults.sweep.sense import check_effect, check_recipe
from premortem.faults.sweep.wires import Wire
from premortem.model.recipe import Recipe, World

_MOST_JOBS, _LEAST_TIME_S = 512, 0.05
FAMILIES = ("file", "socket", "read")


@dataclass(frozen=True, slots=True)
class Plan:
    """One sweep. Commands are argument lists; no shell is between.

    `folder` is copied for each trial (empty: an empty folder). `restart` runs the command again after a trial that did
    not end well, `recover` another command instead. `from_mark`: no system call counts before the program says
    `syscalls.arm()`. `time_s` 0 is max(5 s, ten times the clean run); `budget` 0 is all points. `at` and `then` name
    one point, and a second one that strikes the recovery.
    """

    command: tuple[str, ...]
    check: tuple[str, ...]
    setup: tuple[str, ...] = ()
    recover: tuple[str, ...] = ()
    restart: bool = False
    folder: str = ""
    watch: tuple[str, ...] = ()
    from_mark: bool = False
    wires: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    effects: tuple[str, ...] = ()
    time_s: float = 0.0
    jobs: int = 1
    budget: int = 0
    seed: int = 0
    compound: bool = False
    allow_hang: bool = False
    at: str = ""
    then: str = ""

    def __post_init__(self) -> None:
        for wrong, said in self._rules():
            if wrong:
                raise ConfigurationError(said)
        for family in self.watch:
            if family not in FAMILIES:
                raise ConfigurationError(
                    f"--watch {family}: has to be among {', '.join(FAMILIES)}; several with a comma"
                )
        protocols = [Wire.parse(wire).protocol for wire in self.wires]
        for protocol in protocols:
            if protocols.count(protocol) > 1:
                raise ConfigurationError(
                    f"--wire: two servers speak {protocol}, and a recipe names one; sweep one by one"
                )
        for recipe in filter(None, (self.at, self.then)):
            self._check_world(Recipe.parse(recipe))
            check_recipe(Recipe.parse(recipe))
        for effect in self.effects:
            check_effect(effect, self.worlds)

    def _rules(self) -> Iterator[tuple[bool, str]]:
        """What must not be, and what is said then."""
        back = "strikes the recovery, and there is none; give --restart or --recover"
        hour_s, recovers = 3600, bool(self.recovery)
        yield not self.command, "COMMAND: is missing; write it last: premortem sweep ... -- python job.py"
        yield not self.check, "--check: is missing, and without it nothing is judged; name a command that exits 0"
        yield (
            not (self.watch or self.wires or self.calls),
            "nothing is watched: give --watch file, --wire VARIABLE or --call NAME",
        )
        yield not 1 <= self.jobs <= _MOST_JOBS, f"jobs {self.jobs}: has to be from 1 to {_MOST_JOBS}; the default is 1"
        yield (
            self.time_s != 0 and not _LEAST_TIME_S <= self.time_s <= hour_s,
            f"time limit {self.time_s}: has to be from {_LEAST_TIME_S} to {hour_s} seconds; leave it out",
        )
        yield self.from_mark and not self.watch, "--from-mark: is about system calls; give --watch file,socket with it"
        yield self.budget < 0, f"budget {self.budget}: has to be how many points to try; leave it out for all"
        yield bool(self.then) and not recovers, f"--then: {back}"
        yield self.compound and not recovers, f"--compound: {back}"

    @property
    def recovery(self) -> tuple[str, ...]:
        """What runs after a trial that did not end well; empty for nothing."""
        return self.recover or (self.command if self.restart else ())

    @property
    def worlds(self) -> frozenset[World]:
        """The worlds that this plan looks into."""
        protocols = {Wire.parse(wire).protocol for wire in self.wires}
        chosen = {"syscall": self.watch, "call": self.calls}
        return frozenset(world for world in get_args(World) if world in protocols or chosen.get(world))

    def _check_world(self, recipe: Recipe) -> None:
        if recipe.world not in self.worlds:
            option = {"syscall": "--watch file,socket", "call": f"--call {recipe.what}"}.get(
                recipe.world, "--wire VARIABLE"
            )
            raise ConfigurationError(f"{recipe}: strikes in a world that is not watched; give {option} with it")
