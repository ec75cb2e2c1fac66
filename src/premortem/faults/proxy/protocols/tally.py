"""Counting over all connections of a proxy: which occurrence of a name this is, and what strikes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Generic, TypeVar

from premortem.faults.proxy.protocols import Action, Direction, Hit, Seen
from premortem.faults.proxy.protocols.effects import Delay, Effect
from premortem.model.recipe import Recipe, When, World

E = TypeVar("E", bound=Effect)
UNREADABLE: Final = "unreadable"
"""The name of what was not recognised as this protocol."""

_FROM_CLIENT: dict[When, str] = {
    "before": "did not reach the server",
    "sent": "reached the server, and nobody waited for the answer",
    "after": "was answered by the server, and the client did not hear that answer",
}
_FROM_SERVER: dict[When, str] = {
    "before": "did not reach the client",
    "sent": "reached the client",
    "after": "reached the client",
}


@dataclass(frozen=True, slots=True)
class Plan(Generic[E]):
    """A recipe that was read and found good: `name` is what is counted, `effect` what is done."""

    recipe: Recipe
    name: str
    effect: E


@dataclass(frozen=True, slots=True)
class Strike(Generic[E]):
    """The `nth` of its name, about to be struck."""

    plan: Plan[E]
    nth: int
    direction: Direction

    @property
    def effect(self) -> E:
        """What is done."""
        return self.plan.effect

    @property
    def when(self) -> When:
        """At which moment."""
        return self.plan.recipe.when

    def hit(self) -> Hit:
        """To be told when it has taken effect."""
        effect: Effect = self.plan.effect
        fates = _FROM_CLIENT if self.direction == "up" else _FROM_SERVER
        fate = "" if isinstance(effect, Delay) else f" {fates[self.when]};"
        return Hit(str(self.plan.recipe), f"{self.plan.name} number {self.nth}{fate or ':'} {effect.words}")


class Tally(Generic[E]):
    """The counts of one script. Only what a recipe names is counted; everything is while recording.

    So the numbers of a recording and of a strike are the same numbers.
    """

    def __init__(self, world: World, plans: Sequence[Plan[E]], *, record: bool, seed: int) -> None:
        self._world = world
        self._counts: dict[str, int] = {}
        self._plans: dict[str, list[tuple[int, Plan[E]]]] = {}
        for rank, plan in enumerate(plans):
            self._plans.setdefault(plan.name, []).append((rank, plan))
        self._random = Random(seed)  # noqa: S311 - delays that can be drawn again, no secrets
        self.record = record
        self.wanted = frozenset(self._plans)
        """The names that recipes strike."""
        self.moments = frozenset(plan.recipe.when for plan in plans)
        """The moments at which they do."""

    def meet(self, names: Iterable[str], direction: Direction, told: list[Action]) -> Strike[E] | None:
        """Something with these names comes by; the first of them is the point that a recording tells.

        Where several recipes strike it, it is the one that was given first.
        """
        struck: Strike[E] | None = None
        best = -1
        for place, name in enumerate(names):
            plans = self._plans.get(name)
            if plans is None and not self.record:
                continue
            nth = self._counts[name] = self._counts.get(name, 0) + 1
            if self.record and not place:
                told.append(Seen(f"{self._world}:{name}#{nth}", direction))
            for rank, plan in plans or ():
                if plan.recipe.strikes(nth) and (struck is None or rank < best):
                    struck, best = Strike(plan, nth, direction), rank
        return struck

    def minds(self, name: str) -> bool:
        """Whether anybody asks for this name."""
        return self.record or name in self._plans

    def seconds(self, delay: Delay) -> float:
        """How long this strike waits."""
        return delay.draw(self._random)

    def unreadable(self, direction: Direction) -> list[Action]:
        """Told once for a connection whose bytes are not what was expected, while recording."""
        return [Seen(f"{self._world}:{UNREADABLE}#1", direction)] if self.record else []
