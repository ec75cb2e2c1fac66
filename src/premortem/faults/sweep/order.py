"""Which points come first, and which are left out when there may not be so many.

Around commits and acknowledgements first: a fault between a promise and its fulfilment is where data is lost. Under a
budget the rest is drawn by the seed, so that every kind of point has its turn before any has its second.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from premortem.model.recipe import Recipe
from premortem.model.sweep import Point

# What makes a promise: transactions on the wire, durability in files.
_PROMISES = re.compile(
    r"COMMIT|EXEC|PREPARE TRANSACTION|(fsync|fdatasync|msync|sync_file_range|rename|link)(at)?2?", re.IGNORECASE
)


def ordered(points: Sequence[Point]) -> list[Point]:
    """Those around promises first, each part in the order of the run."""
    near = _near(points)
    marked = [replace(point, near=_operation(point.recipe) in near) for point in points]
    return [point for point in marked if point.near] + [point for point in marked if not point.near]


def within(points: Sequence[Point], budget: int, seed: int) -> list[Point]:
    """At most `budget` of ordered points (0: all), again in their order."""
    if not budget or len(points) <= budget:
        return list(points)
    near = [number for number, point in enumerate(points) if point.near]
    rest = [number for number, point in enumerate(points) if not point.near]
    chosen = _varied(near, points, seed) + _varied(rest, points, seed)
    return [points[number] for number in sorted(chosen[:budget])]


def _varied(numbers: list[int], points: Sequence[Point], seed: int) -> list[int]:
    """Shuffled, and then the first of every kind before the second of any."""
    drawn = random.Random(seed).sample(numbers, len(numbers))  # noqa: S311 - to be repeatable, not secret
    rank: dict[int, int] = {}
    seen: Counter[str] = Counter()
    for number in drawn:
        kind = _kind(points[number].recipe)
        rank[number] = seen[kind]
        seen[kind] += 1
    return sorted(drawn, key=rank.__getitem__)


def _near(points: Sequence[Point]) -> set[str]:
    """The operations that make a promise, what comes before and the two behind, and the last two of all."""
    sequences: dict[str, dict[str, Recipe]] = {}
    for point in points:
        sequences.setdefault(point.recipe.world, {}).setdefault(_operation(point.recipe), point.recipe)
    near: set[str] = set()
    for sequence in sequences.values():
        names = list(sequence)
        for place, recipe in enumerate(sequence.values()):
            if _PROMISES.fullmatch(recipe.what):
                near.update(names[max(0, place - 1) : place + 3])
        near.update(names[-2:])
    return near


def _operation(recipe: Recipe) -> str:
    return f"{recipe.world}:{recipe.what}#{recipe.nth}"


def _kind(recipe: Recipe) -> str:
    return f"{recipe.world}:{recipe.what}:{recipe.when}={recipe.effect}{recipe.onward}"
