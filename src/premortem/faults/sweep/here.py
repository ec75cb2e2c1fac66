"""The sweep in Python without a fork: a function called here, with one call or one message of it struck each time.

What the function leaves behind is yours to put back: `before` is called before each run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

from premortem.faults.proxy import FaultProxy
from premortem.faults.sweep import calls
from premortem.faults.sweep.wire_source import moments
from premortem.faults.sweep.wires import Wire, protocol_of
from premortem.model.recipe import Recipe, When


def nothing() -> None:
    """There is nothing to put back."""


@dataclass(frozen=True, slots=True)
class Struck:
    """One run that was struck: what the function returned, or what it raised."""

    recipe: Recipe
    result: object = None
    error: BaseException | None = None

    def __str__(self) -> str:
        return str(self.recipe)


def sweep_calls(  # noqa: PLR0913 - by keyword only, each with a default
    function: Callable[..., object],
    *args: object,
    call: str,
    effect: str = "raise ConnectionError",
    when: When = "before",
    onward: bool = False,
    before: Callable[[], object] = nothing,
) -> Iterator[Struck]:
    """Call `function(*args)`, with `effect` at the 1st, 2nd, 3rd ... call of `call`, until a run ends unstruck.

    `call` is named `package.module:function`. Yields the result or the error of each run that was struck.
    """
    for nth in itertools.count(1):
        recipe = Recipe("call", call, nth, onward, when, effect)
        before()
        result, error = None, None
        with calls.struck_at(recipe) as hits:
            try:
                result = function(*args)
            except Exception as raised:  # noqa: BLE001 - whatever comes of the fault is the caller's to judge
                error = raised
        if not hits:
            if error is not None:
                raise error  # nothing struck: it is no outcome of the sweep
            return
        yield Struck(recipe, result, error)


def sweep_wire(  # noqa: PLR0913 - by keyword only, each with a default
    function: Callable[[str], object],
    url: str,
    *,
    effect: str = "",
    only: Collection[str] = (),
    onward: bool = False,
    before: Callable[[], object] = nothing,
    seed: int = 0,
) -> Iterator[Struck]:
    """Call `function` with the URL of a proxy for `url`, and strike each message that a clean call has shown.

    `only`: messages of these names, such as "COMMIT" (none: all). `effect` is empty for a cut connection. A message
    that does not come by again is left out.
    """
    wire = Wire("url", protocol_of(url), url)
    with FaultProxy(wire.address, seed=seed) as proxy:
        through = wire.through(proxy.port)
        before()
        with proxy.record(wire.protocol) as recording:
            function(through)
            seen = [Recipe.parse(one.point) for one in recording.seen]
        for recipe in (one.with_effect(effect, onward=onward) for one in seen if not only or one.what in only):
            for when in moments(recipe):
                before()
                if struck := _struck(function, through, proxy, replace(recipe, when=when)):
                    yield struck


def _struck(function: Callable[[str], object], url: str, proxy: FaultProxy, recipe: Recipe) -> Struck | None:
    result, error = None, None
    with proxy.at(recipe) as armed:
        try:
            result = function(url)
        except Exception as raised:  # noqa: BLE001 - as above
            error = raised
    return Struck(recipe, result, error) if armed.strikes else None
