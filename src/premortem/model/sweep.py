"""What a sweep found: points where a fault can strike, a trial for each, and equal trials as one class.

Law: worst wins, and what was not judged is not survived. A trial in which nothing struck is counted as that.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum

from premortem.model.recipe import Recipe
from premortem.model.run import Fact


class Outcome(StrEnum):
    """What a trial came to, from the best to the worst: the order of the members is the order of severity."""

    SURVIVED = "SURVIVED"
    UNSTRUCK = "UNSTRUCK"
    UNJUDGED = "UNJUDGED"
    ERROR = "ERROR"
    HANG = "HANG"
    CRASH = "CRASH"
    VIOLATION = "VIOLATION"

    @property
    def severity(self) -> int:
        """0 for SURVIVED, more for worse."""
        return list(Outcome).index(self)

    @property
    def meaning(self) -> str:
        """One line for people who see the word for the first time."""
        return _MEANING[self]


_MEANING = {
    Outcome.SURVIVED: "ended as without the fault, or was killed by it; the check holds",
    Outcome.UNSTRUCK: "the fault did not take place, and nothing is learned",
    Outcome.UNJUDGED: "the check itself, or the setup, failed: no verdict",
    Outcome.ERROR: "ended with an error; the check holds",
    Outcome.HANG: "did not end within its time; the check holds",
    Outcome.CRASH: "died of a signal that was not ours; the check holds",
    Outcome.VIOLATION: "the check does not hold, or what should recover does not",
}


@dataclass(frozen=True, slots=True)
class Point:
    """One place and one effect. `detail` says in words what stands there ("12 bytes to state.json").

    `near` marks what is done around a commit or an acknowledgement: such points come first.
    """

    recipe: Recipe
    detail: str = ""
    near: bool = False


@dataclass(frozen=True, slots=True)
class Trial:
    """One run under one fault. `then` is the recipe of a second one, which struck the recovery.

    `ended` says how the command ended, `evidence` what the check printed when it did not hold (or why there is no
    verdict), `output` is the end of what the command printed. `number` is its place in the order of the plan: several
    workers do not end in it.
    """

    recipe: str
    outcome: Outcome
    ended: str
    detail: str = ""
    then: str = ""
    strikes: tuple[str, ...] = ()
    evidence: str = ""
    output: str = ""
    elapsed_s: float = 0.0
    number: int = 0

    @property
    def gist(self) -> str:
        """The evidence in one line: the first one, or where a traceback begins in it, the traceback's last."""
        lines = self.evidence.strip().splitlines() or [""]
        before, traceback, _ = lines[0].partition("Traceback (most recent call last)")
        return before + lines[-1] if traceback else before

    @property
    def recipes(self) -> str:
        """Both recipes where there are two."""
        return f"{self.recipe} then {self.then}" if self.then else self.recipe


@dataclass(frozen=True, slots=True)
class OutcomeClass:
    """Trials that differ in nothing but how often the operation had taken place before; `first` stands for all."""

    name: str
    outcome: Outcome
    count: int
    first: Trial
    recipes: tuple[str, ...]
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Clean:
    """The run without a fault: how long it took, how many operations were seen, and how two such runs differ."""

    elapsed_s: float
    operations: int
    differs: str = ""
    ended: str = "exit 0"


@dataclass(frozen=True, slots=True)
class Sweep:
    """Everything that a report is made of. `arguments` are those of `premortem sweep`, without `--at`.

    `points` is how many there are, `left_out` how many of them the budget did not allow. `flaw` says why nothing can
    be concluded; `ended` is as in a `Run`.
    """

    id: str
    started: str
    seed: int
    jobs: int
    arguments: tuple[str, ...]
    allow_hang: bool = False
    facts: tuple[Fact, ...] = ()
    clean: Clean | None = None
    points: int = 0
    left_out: int = 0
    trials: tuple[Trial, ...] = ()
    flaw: str = ""
    elapsed_s: float = 0.0
    ended: str = ""

    @property
    def counts(self) -> tuple[tuple[Outcome, int], ...]:
        """How many trials came to each outcome, worst first, without the zeros."""
        counted = Counter(trial.outcome for trial in self.trials)
        return tuple((outcome, counted[outcome]) for outcome in reversed(Outcome) if counted[outcome])

    @property
    def classes(self) -> tuple[OutcomeClass, ...]:
        """Equal trials together, worst first, then in the order of the plan."""
        found: dict[tuple[str, ...], list[Trial]] = {}
        for trial in sorted(self.trials, key=lambda trial: trial.number):
            found.setdefault(_likeness(trial), []).append(trial)
        classes = [_class(trials) for trials in found.values()]
        return tuple(sorted(classes, key=lambda one: -one.outcome.severity))

    @property
    def wrong(self) -> tuple[Outcome, ...]:
        """The outcomes of this sweep that say something is wrong with the program."""
        bad = {Outcome.VIOLATION, Outcome.CRASH} | (set() if self.allow_hang else {Outcome.HANG})
        return tuple(outcome for outcome, _ in self.counts if outcome in bad)

    @property
    def inconclusive(self) -> str:
        """Why it cannot be said that nothing is wrong; empty where it can."""
        counted = dict(self.counts)
        struck = len(self.trials) - counted.get(Outcome.UNSTRUCK, 0)
        if self.flaw:
            return self.flaw
        if self.ended != "complete":
            return f"the sweep did not complete: {self.ended or 'cut off before it could say why'}"
        if not struck:
            return "no fault struck" if self.trials else "there was nothing to strike"
        if unjudged := counted.get(Outcome.UNJUDGED, 0):
            return f"{unjudged} of {len(self.trials)} trials could not be judged"
        return ""

    @property
    def exit_code(self) -> int:
        """What a shell is told: 0 nothing wrong, 1 a violation, a crash or a hang, 3 inconclusive."""
        if self.wrong:
            return 1
        return 3 if self.inconclusive else 0

    def reproduction(self, trial: Trial) -> str:
        """The command line that makes a trial happen again."""
        then = ["--then", trial.then] if trial.then else []
        return shlex.join(["premortem", "sweep", "--at", trial.recipe, *then, *self.arguments])


_VARYING = re.compile(
    r"\[[^\]]*\]|\{[^}]*\}|\([^)]*\)"  # what Python prints of a container
    r"|'[^']*'|\"[^\"]*\"|0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|\d+|/\S+"
)


def _likeness(trial: Trial) -> tuple[str, ...]:
    """What equal trials have in common."""
    return (_place(trial.recipe), _place(trial.then), trial.outcome.value, _VARYING.sub("*", trial.gist))


def _place(recipe: str) -> str:
    """A recipe without its number."""
    if not recipe:
        return ""
    whole = Recipe.parse(recipe)
    when = "" if whole.when == "before" else f":{whole.when}"
    return f"{whole.world}:{whole.what}{when}" + (f"={whole.effect}" if whole.effect else "")


def _class(trials: list[Trial]) -> OutcomeClass:
    trials = sorted(trials, key=lambda trial: _turn(trial.recipe) + (_turn(trial.then) if trial.then else ()))
    first = trials[0]
    name = _named([trial.recipe for trial in trials])
    name += f" then {_named([trial.then for trial in trials])}" if first.then else ""
    recipes = tuple(trial.recipes for trial in trials)
    details = dict.fromkeys(trial.detail for trial in trials if trial.detail)
    return OutcomeClass(name, first.outcome, len(trials), first, recipes, tuple(details))


def _named(recipes: list[str]) -> str:
    """The place that they share; a fault that stayed often ends otherwise than the same one once, and says so."""
    return _place(recipes[0]) + (" from there on" if all(Recipe.parse(one).onward for one in recipes) else "")


def _turn(recipe: str) -> tuple[int, bool]:
    """Sorts by the number, and once before from there on."""
    whole = Recipe.parse(recipe)
    return whole.nth, whole.onward
