"""How a connection ends as a whole: in order, cut off, or with resets, and not before all has arrived.

Laws:
- What was passed on before the end is delivered before the end, in both directions, within `FLUSH_S` seconds.
- A reset throws away what the kernel still has to send: it waits until there is nothing.
- An end in order waits for the other side's own end: to close a socket with unread bytes would be a reset.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from premortem.faults.proxy.stream import Last

if TYPE_CHECKING:
    from premortem.faults.proxy.link import Link
    from premortem.faults.proxy.pipe import Pipe

FLUSH_S = 5.0  # for bytes to a side that does not read
LINGER_S = 10.0  # for a side to answer our end with its own
_AGAIN_S = 0.001


class Ending:
    """The last part in the life of a connection; `how` is what its sides are to see."""

    def __init__(self, link: Link, how: Last) -> None:
        self._link = link
        self._how = how
        self._settled: set[Pipe] = set()
        self._flushed_by = monotonic() + FLUSH_S

    def begin(self) -> None:
        """From now on what comes is thrown away."""
        link = self._link
        if link.server is None:
            link.down.ended = True
        for pipe in (link.up, link.down):
            pipe.held_up, pipe.discards = False, True
        if self._how is Last.ABORT:
            for pipe in (link.up, link.down):
                pipe.stop()
                pipe.update()
            self._abort()
            return
        self._give_up_later()
        for pipe in (link.up, link.down):
            if not link.closed:
                pipe.give()

    def settle(self, pipe: Pipe) -> None:
        """All of this direction has been delivered: its sink sees the end."""
        if self._how is Last.ABORT or pipe in self._settled:
            return
        self._settled.add(pipe)
        if pipe is self._link.down and self._how is Last.CUT:
            self._reset_client()
        elif pipe.sink is not None:
            pipe.sink.end()
        self.go_on()

    def go_on(self) -> None:
        """Be done, if both sides have heard the end and have said theirs."""
        link = self._link
        if len(self._settled) == len((link.up, link.down)) and link.up.ended and link.down.ended:
            link.close()

    def _reset_client(self) -> None:
        link = self._link
        if link.closed:
            return
        if link.client.unsent_bytes() and monotonic() < self._flushed_by:
            link.engine.call_at(monotonic() + _AGAIN_S, self._reset_client, sharp=False)
            return
        link.client.close(reset=True)
        link.up.ended = True
        self.go_on()

    def _abort(self) -> None:
        link = self._link
        if link.closed:
            return
        sides = [side for side in (link.client, link.server) if side is not None and not side.was_reset]
        if monotonic() < self._flushed_by and any(side.unsent_bytes() for side in sides if not side.closed):
            link.engine.call_at(monotonic() + _AGAIN_S, self._abort, sharp=False)
            return
        link.close(reset=("client", "server"))

    def _give_up_later(self) -> None:
        self._link.engine.call_at(monotonic() + FLUSH_S + LINGER_S, self._give_up, sharp=False)

    def _give_up(self) -> None:
        """A side does not read, or does not end: unless a fault still holds something for it, that was long enough."""
        link = self._link
        if link.closed:
            return
        due = [pipe.staging.chain.due for pipe in (link.up, link.down) if pipe.staging is not None]
        if any(one is not None and one > monotonic() for one in due):
            self._give_up_later()
        else:
            link.close(reset=("client",) if self._how is Last.CUT else ())
