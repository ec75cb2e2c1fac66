"""What a protocol tells the proxy to do: a conversation is fed bytes and answers with actions, and does no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Direction = Literal["up", "down"]
"""`up` is from the client to the server, `down` from the server to the client."""


@dataclass(frozen=True, slots=True)
class Pass:
    """These bytes go on, in the direction in which they came."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """These made-up bytes go back to the side that was just heard."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Wait:
    """What follows in this direction waits for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends. Each side first gets what was passed to it before; the client then a reset, or an end.

    The server always sees an orderly end after the last byte that was passed to it, so that it acts on that byte.
    """

    reset: bool = True


@dataclass(frozen=True, slots=True)
class Hit:
    """The fault took effect: `recipe` makes it happen again, `what` says it in words."""

    recipe: str
    what: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A message went by; `point` is its recipe without moment and effect. Told only by scripts that record."""

    point: str
    direction: Direction


Action = Pass | Reply | Wait | Cut | Hit | Seen


class Conversation(Protocol):
    """One connection. What is not passed on is swallowed; after a `Cut` it is not fed any more."""

    def feed(self, direction: Direction, data: bytes) -> list[Action]:
        """Bytes came, cut anywhere. Actions in the order in which they take place."""
        ...

    def end(self, direction: Direction) -> list[Action]:
        """This side has said all: what is held back for want of the rest goes on as it is."""
        ...


class Script(Protocol):
    """All connections of one proxy under one set of recipes: the Nth COMMIT is counted here, over all of them."""

    def open(self) -> Conversation:
        """A connection begins."""
        ...
