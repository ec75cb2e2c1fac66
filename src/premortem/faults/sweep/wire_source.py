"""Points at every message of a protocol: the program talks to its servers through proxies that count and strike."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Self

from premortem.errors import ConfigurationError
from premortem.faults.proxy import FaultProxy, ProxyHost
from premortem.faults.proxy.protocols.scripts import script
from premortem.faults.sweep import commands
from premortem.faults.sweep.effects import once_and_onward
from premortem.faults.sweep.source import Ended, Sighting, Start
from premortem.faults.sweep.wires import Wire
from premortem.model.recipe import Recipe, When, World
from premortem.model.sweep import Point

_DIRECTIONS = {"up": "from the client", "down": "from the server"}


class WireSource:
    """One proxy for each wire; the command finds their URLs in the variables that named the servers."""

    def __init__(self, wires: tuple[Wire, ...], seed: int) -> None:
        self._wires, self._seed = wires, seed
        self._stack = ExitStack()
        self._proxies: dict[World, FaultProxy] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            host = stack.enter_context(ProxyHost())
            for wire in self._wires:
                self._proxies[wire.protocol] = stack.enter_context(host.open(wire.address, seed=self._seed))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def clean(self, start: Start) -> tuple[Ended, tuple[Sighting, ...]]:
        """Each message is a sighting, in the order in which each server's came by."""
        with ExitStack() as stack:
            recordings = [stack.enter_context(proxy.record(name)) for name, proxy in self._proxies.items()]
            ended = commands.run(self._through(start))
            seen = [one for recording in recordings for one in recording.seen]
        return ended, tuple(Sighting(Recipe.parse(one.point), _DIRECTIONS[one.direction]) for one in seen)

    def points(self, seen: tuple[Sighting, ...], effects: tuple[str, ...]) -> tuple[Point, ...]:
        """Before each message and after it; where nothing answers it, once it is sent."""
        points: list[Point] = []
        for one in seen:
            for effect in ("" if effect == "cut" else effect for effect in effects or ("cut",)):
                struck = replace(one.recipe, effect=effect)
                for when in moments(struck):
                    points += once_and_onward(one, when, effect)
        return tuple(points)

    def strike(self, start: Start, recipe: Recipe) -> Ended:
        """Run it with one message struck."""
        with self._proxies[recipe.world].at(recipe) as armed:
            ended = commands.run(self._through(start))
            return replace(ended, strikes=tuple(dict.fromkeys(strike.what for strike in armed.strikes)))

    def _through(self, start: Start) -> Start:
        urls = {wire.variable: wire.through(self._proxies[wire.protocol].port) for wire in self._wires}
        return start.with_variables(**urls)


def moments(recipe: Recipe) -> tuple[When, ...]:
    """At which of them this effect can strike this message."""
    asked: tuple[When, ...] = ("before", "after", "sent")
    possible = tuple(when for when in asked if _possible(replace(recipe, when=when)))
    return tuple(when for when in possible if when != "sent" or "after" not in possible)


def _possible(recipe: Recipe) -> bool:
    try:
        script([recipe], protocol=recipe.world, record=False, options={}, seed=0)
    except ConfigurationError:
        return False
    return True
