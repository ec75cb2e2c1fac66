"""A conversation of a protocol as two stages, one for each direction of its connection."""

from __future__ import annotations

from premortem.faults.proxy.protocols import Action, Conversation, Cut, Direction, Pass, Wait
from premortem.faults.proxy.stream import Aside, Last, Stage, Timed


class Talk:
    """One connection under the fault of this number."""

    def __init__(self, fault: int, conversation: Conversation) -> None:
        self.fault = fault
        self.conversation = conversation
        self.over = False
        """It was cut: from now on everything is swallowed."""

    def stage(self, direction: Direction) -> Stage:
        """The stage of one direction."""
        return _TalkStage(self, direction)


class _TalkStage(Stage):
    def __init__(self, talk: Talk, direction: Direction) -> None:
        super().__init__()
        self._talk = talk
        self._direction = direction
        self._until = 0.0

    def feed(self, now: float, data: bytes) -> list[Timed]:
        if self._talk.over:
            return []
        return self._timed(now, self._talk.conversation.feed(self._direction, data))

    def finish(self, now: float, last: Last) -> list[Timed]:
        if self._talk.over:
            return []
        given = self.leave(now)  # a cut in it comes first, and ends the connection
        return [*given, (max(now, self._until), last)]

    def leave(self, now: float) -> list[Timed]:
        if self._talk.over:
            return []
        return self._timed(now, self._talk.conversation.end(self._direction))

    def _timed(self, now: float, actions: list[Action]) -> list[Timed]:
        at = max(now, self._until)
        given: list[Timed] = []
        for action in actions:
            if isinstance(action, Pass):
                if action.data:
                    given.append((at, action.data))
            elif isinstance(action, Wait):
                at = self._until = at + action.seconds
            elif isinstance(action, Cut):
                given.append((at, Last.CUT if action.reset else Last.CLOSE))
                self._talk.over = True
                break
            else:
                given.append((at, Aside(self._talk.fault, action)))
        return given
