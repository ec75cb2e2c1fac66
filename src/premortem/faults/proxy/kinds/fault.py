"""What every fault of a proxy is: a frozen description that makes a stage for a direction, or the fate of a connection.

Both are pure. The engine asks, and does what it is told.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from typing import ClassVar, Literal, get_args

from premortem.errors import ConfigurationError
from premortem.faults.proxy.draws import Draws
from premortem.faults.proxy.protocols import Script
from premortem.faults.proxy.stream import Stage

Directions = Literal["both", "up", "down"]
"""`up` is from the client to the server, `down` from the server to the client."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a whole connection, `after_s` seconds from now, and how that is told.

    `reset`: a reset for the sides that the direction names, an end for the other. `close`: an end for both.
    `abandon`: the server's side is closed, and the client's stays open.
    """

    what: Literal["reset", "close", "abandon"]
    said: str
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`direction`: which stream it changes. `share`: of the connections. `ttl_s`: undone after so many seconds."""

    name: ClassVar[str]
    swallows: ClassVar[bool] = False
    """What is under way when it is armed is lost, too."""

    direction: Directions = "both"
    share: float = 1.0
    ttl_s: float | None = None

    def __post_init__(self) -> None:
        if self.direction not in get_args(Directions):
            raise ConfigurationError(
                f"{self.name}(direction={self.direction!r}): has to be one of {', '.join(get_args(Directions))}; "
                "up is towards the server"
            )
        self.require("share", 0 <= self.share <= 1, "from 0 (no connection) to 1 (every one)")
        self.require("ttl_s", self.ttl_s is None or self.ttl_s > 0, "above 0 seconds, or None for no end of its own")
        self.check()

    def check(self) -> None:
        """Refuse parameters that make no sense."""

    def require(self, field: str, holds: bool, rule: str) -> None:  # noqa: FBT001 - it reads as a sentence
        """ConfigurationError with the value and the rule, unless it holds."""
        value: object = getattr(self, field)
        if not holds or (isinstance(value, float) and not isfinite(value)):
            raise ConfigurationError(f"{self.name}({field}={value!r}): has to be {rule}; pass such a value")

    @property
    def closes_port(self) -> bool:
        """Whether nobody can connect as long as it is armed."""
        return False

    def stage(self, draws: Draws) -> Stage | None:  # noqa: ARG002 - most need no luck
        """What it does to one direction of one connection."""
        return None

    def fate(self, *, live: bool, nth: int) -> Fate | None:  # noqa: ARG002 - most leave connections alone
        """What it does to a whole connection: one that is `live`, or the `nth` new one that it meets."""
        return None

    def script(self, seed: int) -> Script | None:  # noqa: ARG002 - most know no protocol
        """What it does to the messages of a protocol."""
        return None

    def __str__(self) -> str:
        """As it is written: latency(delay_s=0.02)."""
        told = [(one.name, getattr(self, one.name), one.default) for one in fields(self)]
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value, usual in told if value != usual)})"
