"""What goes through one direction of a connection, and the stage at which a fault delays, changes or swallows it.

Laws:
- A stage is pure: the time and the random draws come in as arguments, and what comes out is (due, item), in order.
- Time is that of the monotonic clock, in seconds. Nothing comes out before it is due.
- What is held when the stage is taken out goes on at once and in order; a stage that swallowed bytes ends with ABORT.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from premortem.faults.proxy.protocols import Hit, Reply, Seen

ROOM_BYTES = 4 << 20


class Last(Enum):
    """How a direction, or with it the whole connection, comes to its end, once all that came before is delivered."""

    END = "end"
    """This direction has said all; the other goes on."""
    CLOSE = "close"
    """The connection ends in order on both sides."""
    CUT = "cut"
    """The connection ends: with a reset for the client, in order for the server."""
    ABORT = "abort"
    """The connection ends with a reset on both sides."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Not of the stream itself: what the fault of this number has to say, or sends back."""

    fault: int
    action: Hit | Reply | Seen


Item = bytes | Last | Aside
Timed = tuple[float, Item]


class Stage:
    """What a fault does to one direction of one connection. As it stands it lets everything pass.

    `struck` says what it has done, from the moment that it has done something.
    """

    room_bytes = ROOM_BYTES
    """So many bytes are held here before the sender has to wait."""

    def __init__(self) -> None:
        self.struck = ""

    def feed(self, now: float, data: bytes) -> list[Timed]:
        """Bytes came, never none."""
        return [(now, data)]

    def finish(self, now: float, last: Last) -> list[Timed]:
        """The sender's last word came."""
        return [(now, last)]

    def leave(self, now: float) -> list[Timed]:  # noqa: ARG002 - those that hold something back tell when it goes
        """The fault is taken out: what it still has to give besides what is held."""
        return []


class Swallow(Stage):
    """Takes everything and gives nothing; a connection that lost something ends with a reset when this is lifted."""

    def __init__(self, said: str, *, lost: bool = False) -> None:
        super().__init__()
        self.said = said
        self.lost = lost

    def feed(self, now: float, data: bytes) -> list[Timed]:  # noqa: ARG002 - the moment does not matter
        """Swallow it."""
        self.lost = True
        self.struck = self.struck or f"{len(data)} bytes {self.said}"
        return []

    def finish(self, now: float, last: Last) -> list[Timed]:  # noqa: ARG002 - as above
        """Swallow that, too: the other side never hears that the connection has ended."""
        self.lost = True
        self.struck = self.struck or f"the end of the connection {self.said}"
        return []

    def leave(self, now: float) -> list[Timed]:
        """Nobody can go on from here who has lost something."""
        return [(now, Last.ABORT)] if self.lost else []
