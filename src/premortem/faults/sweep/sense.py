"""Whether a recipe makes sense, and an effect has a name that is known: asked before anything is run.

Each world says it by its own means, and is imported only where it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable

from premortem.errors import ConfigurationError
from premortem.model.recipe import Recipe, World

# Where every effect of a protocol can be had: an answer, of what may be answered with nothing, too.
_HAS_ALL: dict[World, str] = {
    "syscall": "*",
    "call": "module:function",
    "postgres": "COMMIT",
    "redis": "EXEC",
    "http": "* *",
}


def check_recipe(recipe: Recipe) -> None:
    """ConfigurationError where no run could ever be struck by it."""
    if recipe.world == "syscall":
        from premortem.faults.syscalls import decide_by  # noqa: PLC0415 - only where it is asked for

        decide_by(recipe)
    elif recipe.world == "call":
        from premortem.faults.sweep.call_effects import CallEffect  # noqa: PLC0415 - same

        CallEffect.parse(recipe.effect)
    else:
        from premortem.faults.proxy.protocols.scripts import script  # noqa: PLC0415 - same

        script([recipe], protocol=recipe.world, record=False, options={}, seed=0)


def check_effect(effect: str, worlds: Iterable[World]) -> None:
    """ConfigurationError where no one of these worlds knows it: a misspelt effect would be tried nowhere."""
    unknown = ""
    for world in sorted(worlds):
        try:
            check_recipe(
                Recipe(world, _HAS_ALL[world], 1, when="before" if world == "syscall" else "after", effect=effect)
            )
        except ConfigurationError as error:
            unknown = unknown or str(error)
        else:
            return
    raise ConfigurationError(f"--effects {effect}: is known to nothing that is watched ({unknown})")
