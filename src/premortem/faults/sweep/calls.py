"""Named callables raise, delay or return something else at their Nth call.

    with calls.struck_at(Recipe.parse("call:shop:pay#2=raise TimeoutError")) as hits:
        ...                       # the second call of shop.pay raises; hits says so

A callable is named `package.module:function`, `package.module:Class.method` or `package.module.Class.method`.
Law: whoever has imported a function by its name before (`from shop import pay`) is patched too, and everything is as
it was afterwards. Calls are counted over all threads of the process. What is written in C and bound to a type
(`sqlite3.Connection.execute`) cannot be patched; the system-call and wire sweeps reach what lies below it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck
from premortem.faults.sweep.call_effects import CallEffect
from premortem.faults.sweep.call_names import Spot
from premortem.model.recipe import Recipe, When

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class _Act:
    """What this call does instead."""

    effect: CallEffect
    when: When
    recipe: str

    @property
    def takes_place(self) -> bool:
        """Whether the function is called at all."""
        return self.effect.kind == "delay" or self.when != "before"

    @property
    def before_s(self) -> float:
        return self.effect.seconds if self.when == "before" else 0.0

    @property
    def after_s(self) -> float:
        return 0.0 if self.when == "before" else self.effect.seconds

    def settle(self, result: object) -> object:
        """Raise, or give what the caller gets."""
        if self.effect.kind == "raise":
            raise self.effect.make(self.recipe)
        return self.effect.value if self.effect.kind == "return" else result


Judge = Callable[[], _Act | None]


@contextmanager
def struck_at(*recipes: Recipe, tell: Callable[[str], None] | None = None) -> Iterator[list[str]]:
    """Strike the calls that `recipes` name; the list says what was hit, and `tell` is told at once, in any thread."""
    hits: list[str] = []

    def hit(what: str) -> None:
        hits.append(what)
        struck("call", what)
        if tell is not None:
            tell(what)

    with ExitStack() as stack:
        for recipe in recipes:
            stack.enter_context(_tapped(Spot.find(recipe.what), _striker(recipe, hit)))
        try:
            yield hits
        finally:
            for what in hits:
                lifted("call", what)


@contextmanager
def counted(names: tuple[str, ...], see: Callable[[str, int], None]) -> Iterator[None]:
    """Tell `see` the name and the number of each call, and change nothing."""
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(_tapped(Spot.find(name), _counter(name, see)))
        yield


def _striker(recipe: Recipe, tell: Callable[[str], None]) -> Judge:
    effect, count = CallEffect.parse(recipe.effect), _count()
    if effect.kind == "raise":
        effect.make(str(recipe))  # a name that is none is said before anything runs

    def judge() -> _Act | None:
        nth = count()
        if not recipe.strikes(nth):
            return None
        hit = str(Recipe(recipe.world, recipe.what, nth, when=recipe.when, effect=recipe.effect))
        tell(hit)
        return _Act(effect, recipe.when, hit)

    return judge


def _counter(name: str, see: Callable[[str, int], None]) -> Judge:
    count = _count()

    def judge() -> None:
        see(name, count())

    return judge


def _count() -> Callable[[], int]:
    lock, number = threading.Lock(), 0

    def count() -> int:
        nonlocal number
        with lock:
            number += 1
            return number

    return count


@contextmanager
def _tapped(spot: Spot, judge: Judge) -> Iterator[None]:
    """Put a wrapper in its place, wherever it is known, and take it out again."""
    raw, kind = spot.raw, type(spot.raw)
    bound = kind in (staticmethod, classmethod)
    new = kind(_wrapped(raw.__func__, judge)) if bound else _wrapped(raw, judge)
    inherited = spot.attribute not in vars(spot.owner)
    holders = _holders(spot)
    try:
        setattr(spot.owner, spot.attribute, new)
    except (TypeError, AttributeError) as error:
        raise FaultError(
            f"{spot.name}: cannot be patched ({error}); sweep the wire or the system calls below it"
        ) from None
    for module, alias in holders:
        setattr(module, alias, new)
    try:
        yield
    finally:
        if inherited:
            delattr(spot.owner, spot.attribute)
        else:
            setattr(spot.owner, spot.attribute, raw)
        for module, alias in holders:
            setattr(module, alias, raw)


def _holders(spot: Spot) -> list[tuple[ModuleType, str]]:
    """Other modules that have imported the function by its name."""
    if not isinstance(spot.owner, ModuleType):
        return []
    return [
        (module, alias)
        for module in list(sys.modules.values())
        for alias, value in list(getattr(module, "__dict__", {}).items())
        if value is spot.raw and (module is not spot.owner or alias != spot.attribute)
    ]


def _wrapped(function: Function, judge: Judge) -> Function:
    """A coroutine function stays one, and never blocks its loop."""

    @functools.wraps(function)
    async def later(*args: object, **keywords: object) -> object:
        act = judge()
        if act is None:
            return await function(*args, **keywords)
        await asyncio.sleep(act.before_s)
        result = await function(*args, **keywords) if act.takes_place else None
        await asyncio.sleep(act.after_s)
        return act.settle(result)

    @functools.wraps(function)
    def wrapper(*args: object, **keywords: object) -> object:
        act = judge()
        if act is None:
            return function(*args, **keywords)
        time.sleep(act.before_s)
        result = function(*args, **keywords) if act.takes_place else None
        time.sleep(act.after_s)
        return act.settle(result)

    return later if inspect.iscoroutinefunction(function) else wrapper
