"""One connection: the client's side and the server's, a pipe for each direction, and what faults do to it.

Laws:
- A reset of one side is a reset of the other, and an end an end (`ending`).
- The server is never waited for: its connection is made without blocking, and until it is there nothing is read.
"""

from __future__ import annotations

import socket
from time import monotonic
from typing import TYPE_CHECKING

from premortem.faults.proxy.dialling import Dialling, dial
from premortem.faults.proxy.draws import Draws, lot
from premortem.faults.proxy.ending import Ending
from premortem.faults.proxy.kinds.fault import Fate
from premortem.faults.proxy.pipe import Pipe
from premortem.faults.proxy.protocols import Direction, Hit, Reply
from premortem.faults.proxy.side import Side
from premortem.faults.proxy.stream import Aside, Last
from premortem.faults.proxy.talk import Talk

if TYPE_CHECKING:
    from premortem.faults.proxy.port import Arm, Port

_NONE: frozenset[int] = frozenset()


class Link:
    """Connection `number` of a port, from the moment it was accepted."""

    def __init__(self, port: Port, number: int, client: socket.socket) -> None:
        self.port = port
        self.engine = port.engine
        self.number = number
        self._lot: float | None = None
        self.closed = False
        self.ending: Ending | None = None
        self.up, self.down = Pipe(self), Pipe(self)
        self.up.other, self.down.other = self.down, self.up
        self.client = Side(self.engine, client, self.up, self.down)
        self.server: Side | None = None
        self._dialling: Dialling | None = None
        self._met: frozenset[int] = _NONE  # faults that have a stage here
        self._told: frozenset[int] = _NONE  # faults that have told their strike

    @property
    def lot(self) -> float:
        """Drawn once, from the seed and the number: a fault with a share above it strikes here."""
        if self._lot is None:
            self._lot = lot(self.port.seed, self.number)
        return self._lot

    # How it begins.

    def dial(self) -> None:
        """Connect to the server, without waiting for it."""
        if self.closed or self.ending or self.up.ended:
            return
        self._dialling = dial(self.engine, self.port.family, self.port.upstream, self._answered)

    def _answered(self, upstream: socket.socket | None) -> None:
        """The server's side is there; None: nobody listens.

        The client came through before we knew that: a reset is as near as we come to a refusal.
        """
        self._dialling = None
        if upstream is None:
            self.port.upstream_failed()  # first: who has seen the reset and tries again is to be refused
            self.close(reset=("client",))
            return
        self.server = Side(self.engine, upstream, self.down, self.up)
        self.up.held_up = self.down.held_up = False
        self.client.update()
        self.server.update()
        self.up.take()  # the first bytes are there by now, as a rule: a round of the loop less

    # What faults do to it.

    def meet(self, arm: Arm, *, live: bool) -> None:
        """This fault is armed; strike, if the lot fell on this connection."""
        if self.closed or self.ending or self.lot >= arm.fault.share or arm.number in self._met:
            return
        self._met |= {arm.number}
        talk = Talk(arm.number, arm.script.open()) if arm.script is not None else None
        for direction, pipe in self.pipes(arm):
            draws = Draws(self.port.seed, self.number, f"{arm.fault.name} {direction}")
            stage = talk.stage(direction) if talk is not None else arm.fault.stage(draws)
            if stage is not None:
                pipe.add(arm.number, stage, swallows=arm.fault.swallows)
        fate = arm.fate(live=live)
        if fate is None:
            return
        if fate.after_s:
            self.engine.call_at(monotonic() + fate.after_s, lambda: self.suffer(arm, fate))
        else:
            self.suffer(arm, fate)

    def part(self, number: int) -> None:
        """The fault of this number is taken out."""
        if number in self._met:
            self._met -= {number}
            for pipe in (self.up, self.down):
                if not self.closed:
                    pipe.remove(number)

    def change(self, arm: Arm) -> None:
        """The fault has other parameters now; whether it is struck goes by the same lot as before."""
        if self.lot >= arm.fault.share:
            self.part(arm.number)
        elif arm.number not in self._met:
            self.meet(arm, live=True)
        elif arm.script is None:
            for direction, pipe in self.pipes(arm):
                stage = arm.fault.stage(Draws(self.port.seed, self.number, f"{arm.fault.name} {direction}"))
                if stage is not None and pipe.staging is not None and not self.closed:
                    pipe.staging.replace(arm.number, stage)

    def pipes(self, arm: Arm) -> list[tuple[Direction, Pipe]]:
        """Those that the fault changes; a conversation is always heard on both sides."""
        both: list[tuple[Direction, Pipe]] = [("up", self.up), ("down", self.down)]
        return [one for one in both if arm.fault.direction in ("both", one[0]) or arm.script is not None]

    def suffer(self, arm: Arm, fate: Fate) -> None:
        """The fault decides over the whole connection."""
        if self.closed or self.ending or arm.number not in self._met:
            return
        self.port.struck(arm.number, self, fate.said)
        if fate.what == "close":
            self.begin_close(Last.CLOSE)
        elif fate.what == "abandon":
            self._abandon()
        elif arm.fault.direction == "both":
            self.close(reset=("client", "server"))
        else:
            self._reset_one(self.client if arm.fault.direction == "down" else self.server)

    def aside(self, pipe: Pipe, aside: Aside) -> None:
        """What a stage has to say, or sends back."""
        action = aside.action
        if isinstance(action, Reply):
            if self.ending is None:
                pipe.other.inject(aside.fault, action.data)
        elif isinstance(action, Hit):
            if action.recipe or aside.fault not in self._told:
                self._told |= {aside.fault}
                self.port.struck(aside.fault, self, action.what, action.recipe)
        else:
            self.port.seen(aside.fault, action)

    def _reset_one(self, side: Side | None) -> None:
        """A reset for this side, an end for the other."""
        if side is not None:
            side.close(reset=True)
            side.hears.ended = True
            side.tells.stop()
        self.begin_close(Last.CLOSE)

    def _abandon(self) -> None:
        self._hang_up()
        if self.server is not None:
            self.server.close()
        self.up.sink = self.down.source = None
        self.down.ended = True
        self.up.held_up = False
        self.client.update()

    # How it ends.

    def conclude(self, pipe: Pipe, last: Last) -> None:
        """All that came before this has been sent."""
        if self.ending is not None:
            return
        if last is Last.END:
            pipe.done = True
            if pipe.other.done:
                self.close()
            elif pipe.sink is not None:
                pipe.sink.end()
        else:
            if pipe.staging is not None:
                pipe.staging.chain.clear()
            self.begin_close(last)

    def begin_close(self, how: Last) -> None:
        """End it in this way, once what is under way has been delivered."""
        self._hang_up()
        self.ending = Ending(self, how)
        self.ending.begin()

    def source_ended(self, pipe: Pipe) -> None:
        """A direction that nobody hears any more has come to its end."""
        pipe.done = True
        if self.ending is not None:
            self.ending.go_on()
        elif pipe.other.done:
            self.close()

    def sink_lost(self, pipe: Pipe) -> None:
        """The side that was written to has gone; what it said last is still to be read, unless it had ended before."""
        if self.ending is not None:
            self.ending.settle(pipe)
        elif pipe.other.ended:
            self.begin_close(Last.ABORT)

    def close(self, *, reset: tuple[str, ...] = ()) -> None:
        """End it now; with a reset for the sides that are named."""
        if self.closed:
            return
        self.closed = True
        self._hang_up()
        for pipe in (self.up, self.down):
            pipe.stop()
        self.client.close(reset="client" in reset)
        if self.server is not None:
            self.server.close(reset="server" in reset)
        self.port.forget(self)

    def _hang_up(self) -> None:
        """Do not wait for the server to answer any more."""
        if self._dialling is not None:
            self._dialling.give_up()
            self._dialling = None
