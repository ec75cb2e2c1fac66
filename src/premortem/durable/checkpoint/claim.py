"""A claim on a checkpoint: its owner's fence, for as long as it lasts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from premortem.durable.checkpoint import rules
from premortem.durable.checkpoint.heads import Heads
from premortem.durable.checkpoint.rules import Head
from premortem.durable.errors import StaleOwnerError, StoreDownError
from premortem.durable.telling import tell
from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.ports import Clock

_YEAR_S = 366 * 86400


class Claim:
    """A checkpoint that is held: `fence` goes with every save, and is greater than any before it.

    A context manager, which releases it. Without `renew` in time another worker may claim it; from then on, this one's
    saves are refused.
    """

    def __init__(  # noqa: PLR0913 - made by Checkpoint.claim alone
        self, heads: Heads, name: str, owner: str, fence: int, *, ttl_s: float, ended: Callable[[Claim], None]
    ) -> None:
        self.name, self.owner, self.fence, self.ttl_s = name, owner, fence, ttl_s
        self._heads, self._ended = heads, ended

    def __repr__(self) -> str:
        return f"Claim({self.name!r}, {self.owner!r}, fence={self.fence})"

    def renew(self, ttl_s: float | None = None) -> None:
        """Begin the time anew, in seconds. StaleOwnerError where somebody else has claimed it since."""
        length_s = self.ttl_s if ttl_s is None else checked_ttl(ttl_s)
        self._heads.replace(lambda head, now: rules.renewed(self._still(head), length_s, now))

    def release(self) -> None:
        """Let the next one have it at once. StaleOwnerError where somebody else has it already."""
        self._ended(self)
        self._heads.replace(lambda head, _: rules.released(self._still(head)))
        emit("checkpoint.released", checkpoint=self.name, owner=self.owner, fence=self.fence)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.release()
        except (StaleOwnerError, StoreDownError) as error:  # its time runs out by itself; the block's outcome stands
            tell("checkpoint.not_released", checkpoint=self.name, owner=self.owner, why=str(error))

    def _still(self, head: Head) -> Head:
        if head.fence == self.fence and head.owner == self.owner:
            return head
        raise StaleOwnerError(
            f"checkpoint {self.name!r}: fence {self.fence} of {self.owner!r} is no longer the newest, {head.fence} of "
            f"{head.owner or 'nobody'!r} is; stop, and claim it anew to go on"
        )


@dataclass(slots=True)
class Patience:
    """For how long somebody else's turn has been looked at, on a clock that cannot be put back."""

    clock: Clock
    turn: int = -1
    since: float = 0.0

    def waited_s(self, head: Head) -> float:
        """Seconds since this turn was first seen here."""
        now = self.clock.monotonic()
        if self.turn != head.turn:
            self.turn, self.since = head.turn, now
        return now - self.since


def checked_ttl(ttl_s: float) -> float:
    """A lease's length in seconds, or ConfigurationError."""
    if isinstance(ttl_s, bool) or not 0 < ttl_s <= _YEAR_S:
        raise ConfigurationError(f"claim(ttl_s={ttl_s!r}): has to be above 0 seconds and up to a year; write 30")
    return ttl_s
