"""What a PostgreSQL server has yet to answer, in the order in which it works it off, and what it skips.

After an error in the extended protocol a server skips everything up to the next Sync; while it takes in the data of a
COPY it ignores a Sync. Both are mirrored here, so that answers are matched to what they answer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Final

from premortem.faults.proxy.protocols import postgres_messages as pg
from premortem.faults.proxy.protocols.postgres_recipes import Effect
from premortem.faults.proxy.protocols.tally import Strike


@dataclass(slots=True)
class Asked:
    """What the server has yet to answer.

    `strike` is to be struck when statement number `index` has been answered, or by any error if it is on the `whole`
    Query; with `stand_in`, from there on the answers are a stand-in's.
    """

    kind: int
    strike: Strike[Effect] | None = None
    index: int = 0
    whole: bool = False
    done: int = 0  # statements of a Query that were answered
    ends_transaction: bool = False
    stand_in: bool = False
    swallow: bool = False  # ours, not the client's
    flushed: bool = False  # the client waits for this answer without a Sync
    client_waits: bool = False  # although it is ours, its ReadyForQuery is the client's

    @property
    def is_ours(self) -> bool:
        """Whether what the server says now answers us."""
        return self.swallow or (self.stand_in and (self.kind != pg.QUERY or self.done >= self.index))

    @property
    def is_struck_by_error(self) -> bool:
        """Not if it is an earlier statement that failed, or if the strike is on ReadyForQuery."""
        if self.stand_in:
            return self.is_ours
        return self.whole or (self.index == self.done if self.kind == pg.QUERY else self.kind not in pg.ROUNDS)

    @property
    def is_struck_by_ready(self) -> bool:
        """If the strike is on a whole round that has no statement."""
        return self.strike is not None and not self.stand_in and (self.kind != pg.QUERY or self.index < 0)


# What nobody minds is the same object every time; of a Query, the statements that were answered are counted.
UNMARKED: Final = {kind: Asked(kind) for kind in pg.ANSWERS if kind != pg.QUERY}


class Backlog:
    """A queue of what was asked."""

    def __init__(self) -> None:
        self._asked: deque[Asked] = deque()
        self._skipping = False
        self._copying = False

    @property
    def first(self) -> Asked | None:
        """What the server is at."""
        return self._asked[0] if self._asked else None

    @property
    def has_stand_ins(self) -> bool:
        """Whether some answers will not be for the client, or not as they are."""
        return any(asked.stand_in or asked.swallow for asked in self._asked)

    def expect(self, asked: Asked) -> None:
        """The server will answer this, unless it skips it."""
        kind = asked.kind
        if kind not in pg.ANSWERS or (kind in (pg.STARTUP, pg.PASSWORD) and asked.strike is None):
            return
        if kind == pg.SYNC:
            self._skipping = False
        if not (self._skipping or (kind == pg.SYNC and self._copying)):
            self._asked.append(asked)

    def client_waits(self) -> None:
        """It has sent Flush: answers come without a Sync."""
        for asked in self._asked:
            asked.flushed = asked.strike is not None

    def mark_copy(self, strike: Strike[Effect], *, stand_in: bool) -> bool:
        """A strike on the data of a COPY is one on the COPY; False if that has failed by itself."""
        if not self._asked:
            return False
        self._asked[0] = replace(self._asked[0], strike=strike, index=self._asked[0].done, stand_in=stand_in)
        return True

    def begin_copy(self) -> None:
        """The server takes data; a Sync that the client sent before it knew is ignored."""
        if self._asked and self._asked[0].kind == pg.EXECUTE:
            self._copying = True
            self._asked = deque(asked for asked in self._asked if asked.kind != pg.SYNC)

    def end_copy(self) -> None:
        """The data is complete, or is not going to be."""
        self._copying = False

    def answered(self) -> None:
        """The first is done."""
        self._asked.popleft()

    def failed(self) -> None:
        """The first failed; what follows is skipped up to where the server says that it is ready again."""
        self._copying = False
        if self._asked and self._asked[0].kind not in pg.ROUNDS:
            while self._asked and self._asked[0].kind != pg.SYNC:
                self._asked.popleft()
            self._skipping = not self._asked

    def end_round(self) -> Asked | None:
        """The server is ready: what that answers, if it was seen."""
        while self._asked:
            asked = self._asked.popleft()
            if asked.kind in pg.ROUNDS:
                return asked
        return None
