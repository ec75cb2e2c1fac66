"""From what was seen to what is tried: each point once, and once more from there on."""

from __future__ import annotations

from collections.abc import Iterator

from premortem.faults.sweep.source import Sighting
from premortem.model.recipe import Recipe, When
from premortem.model.sweep import Point


def once_and_onward(seen: Sighting, when: When, effect: str) -> Iterator[Point]:
    """Both forms of one point."""
    for onward in (False, True):
        yield _point(seen, when, effect, onward=onward)


def once(seen: Sighting, when: When, effect: str) -> Iterator[Point]:
    """The one form of a point after which nothing can be struck any more: the process is dead."""
    yield _point(seen, when, effect, onward=False)


def _point(seen: Sighting, when: When, effect: str, *, onward: bool) -> Point:
    recipe = seen.recipe
    return Point(Recipe(recipe.world, recipe.what, recipe.nth, onward, when, effect), seen.detail)
