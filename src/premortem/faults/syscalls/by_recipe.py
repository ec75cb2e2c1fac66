"""A recipe of the world "syscall" as decisions: `syscall:fsync#2=EIO`, `syscall:write orders.db#4+=short`.

WHAT is a call, or a call and its target, or `*` for any call. The effect is an errno's name, `kill` (also when none is
given), `kill all` (the whole family at once), `short`, `drop`, `sever`, or `delay 0.5` (seconds). Law: on a connection
an errno that says that it is broken breaks it, too.
"""

from __future__ import annotations

import difflib
import errno
import math
from dataclasses import dataclass

from premortem.errors import ConfigurationError
from premortem.faults.syscalls.calls import NAMES, OTHER_NAMES
from premortem.faults.syscalls.decisions import GO, Decision, Drop, Fail, Kill, Pause, Sever, Short
from premortem.faults.syscalls.effects import can_strike
from premortem.faults.syscalls.operations import Operation
from premortem.model.recipe import Recipe

ANY = "*"
_WORDS: dict[str, Decision] = {
    "": Kill(),
    "kill": Kill(),
    "kill all": Kill(family=True),
    "short": Short(),
    "drop": Drop(),
    "sever": Sever(),
}
_ERRNOS = {name: number for number, name in errno.errorcode.items()}
_USUAL = ("EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR", "EAGAIN", "EMFILE", "ENOMEM", "EPIPE", "ECONNRESET", "ETIMEDOUT")
# These say "not now", and leave the connection as it is; any other errno says that it is gone.
_PASSING = frozenset({"EINTR", "EAGAIN", "EWOULDBLOCK", "ENOBUFS", "ENOMEM", "EMFILE", "ENFILE", "EINPROGRESS"})


@dataclass(slots=True, eq=False)
class ByRecipe:
    """Decides by one recipe. `hit`: whether it has taken effect, as `run` tells it."""

    recipe: Recipe
    call: str
    target: str
    decision: Decision
    hit: bool = False
    _seen: int = 0

    def __call__(self, operation: Operation) -> Decision:
        """What is to happen to `operation`; it counts those that the recipe names."""
        if self.call not in (ANY, operation.call) or self.target not in ("", operation.target):
            return GO
        self._seen += 1
        if not self.recipe.strikes(self._seen):
            return GO
        decision = self.decision
        if isinstance(decision, Fail) and can_strike(Sever(), operation) and _breaks(decision):
            return Sever(decision.errno)
        return decision if can_strike(decision, operation) else GO


def decide_by(recipe: Recipe) -> ByRecipe:
    """The decisions of `recipe`, for `run`. ConfigurationError says which part of it is wrong."""
    if recipe.world != "syscall" or recipe.when != "before":
        raise ConfigurationError(
            f"{recipe}: has to be of the world `syscall`, and strikes before the call; write syscall:fsync#2=EIO"
        )
    name, _, target = recipe.what.partition(" ")
    call = OTHER_NAMES.get(name, name)
    if call not in NAMES | {ANY, "rmdir"}:
        near = difflib.get_close_matches(name, NAMES, 1)
        way_out = f"did you mean {near[0]}?" if near else f"write {ANY} for any"
        raise ConfigurationError(f"{recipe}: {name!r} is no call that is watched; {way_out}")
    return ByRecipe(recipe, call, target.strip(), _decision(recipe))


def _decision(recipe: Recipe) -> Decision:
    effect = recipe.effect
    if effect in _WORDS:
        return _WORDS[effect]
    if effect in _ERRNOS:
        return Fail(_ERRNOS[effect])
    word, _, seconds = effect.partition(" ")
    if word == "delay":
        try:
            pause = float(seconds)
        except ValueError:
            pause = math.nan
        if 0 < pause < math.inf:
            return Pause(pause)
        raise ConfigurationError(f"{recipe}: {seconds!r} has to be seconds, above 0; write delay 0.5")
    near = difflib.get_close_matches(effect, [*_USUAL, *_WORDS, "delay 0.5"], 1) or difflib.get_close_matches(
        effect, _ERRNOS, 1
    )
    raise ConfigurationError(
        f"{recipe}: {effect!r} is no effect; it has to be the name of an errno, kill, kill all, short, drop, sever or"
        f" delay 0.5" + (f"; did you mean {near[0]}?" if near else "")
    )


def _breaks(decision: Fail) -> bool:
    return errno.errorcode[decision.errno] not in _PASSING
