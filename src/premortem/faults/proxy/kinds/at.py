"""At: a fault at a message of a protocol, such as the first COMMIT, written as a recipe."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.errors import ConfigurationError
from premortem.faults.proxy.kinds.fault import Fault
from premortem.faults.proxy.protocols import Script
from premortem.model.recipe import Recipe


@dataclass(frozen=True, slots=True)
class At(Fault):
    """`recipes` of one `protocol`; with `record` every message that goes by is told, and nothing is struck.

    A connection that was made before it was armed is read from here on: it has to stand between two messages.
    """

    name = "at"

    protocol: str
    recipes: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    record: bool = False

    def check(self) -> None:
        """One protocol, and something to do."""
        for recipe in self.parsed():
            if recipe.world != self.protocol:
                raise ConfigurationError(
                    f"{recipe}: is of {recipe.world}, and this connection speaks {self.protocol}; "
                    "arm recipes of one protocol at a time"
                )
        self.require("recipes", bool(self.recipes) or self.record, "at least one recipe, such as postgres:COMMIT#1")

    def parsed(self) -> tuple[Recipe, ...]:
        """The recipes, read."""
        return tuple(Recipe.parse(text) for text in self.recipes)

    def script(self, seed: int) -> Script:
        """One script for all connections: it counts over all of them."""
        from premortem.faults.proxy.protocols.scripts import script  # noqa: PLC0415 - the parsers are loaded when needed

        return script(self.parsed(), protocol=self.protocol, record=self.record, options=dict(self.options), seed=seed)
