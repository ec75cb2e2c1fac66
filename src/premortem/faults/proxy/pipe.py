"""One direction of a connection: from its source to its sink, by the fast way, or through the stages of its faults.

Laws:
- The fast way holds one piece at most, the other as much as its stages have room for: who does not read stops who
  writes.
- Bytes leave in the order in which they came, whatever was put in or taken out meanwhile; so does the end.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from premortem.faults.proxy import splice
from premortem.faults.proxy.staging import Staging
from premortem.faults.proxy.stream import Item, Last, Stage

if TYPE_CHECKING:
    from premortem.faults.proxy.link import Link
    from premortem.faults.proxy.side import Side

FULL_BYTES = 256 << 10
_WORTH_BYTES = 32 << 10  # smaller pieces are not worth two system calls
_BUFFER = bytearray(FULL_BYTES)  # one for all: what is read is sent, or copied, before the next read
_VIEW = memoryview(_BUFFER)


class Pipe:
    """`take` when the source has something, `give` when the sink can take something."""

    __slots__ = (
        "bytes", "discards", "done", "ended", "held_up", "kernel", "link", "other", "out", "sink", "source", "staging",
    )  # fmt: skip

    def __init__(self, link: Link) -> None:
        self.link = link
        self.other: Pipe
        self.source: Side | None = None
        self.sink: Side | None = None
        self.staging: Staging | None = None
        self.out: deque[bytes | memoryview | Last] = deque()  # came through, and still to be sent
        self.kernel: splice.KernelPipe | None = None
        self.bytes = 0
        self.held_up = True  # the other side is not there yet
        self.discards = False  # nobody is there to hear it any more
        self.ended = False  # the source has said all
        self.done = False  # and the sink has heard all

    @property
    def wants_bytes(self) -> bool:
        """Whether to read on."""
        if self.ended or self.held_up:
            return False
        if self.discards:
            return True
        if self.out or (self.kernel is not None and self.kernel.size):
            return False
        return self.staging is None or self.staging.chain.room_bytes > 0

    @property
    def has_bytes(self) -> bool:
        """Whether something is to be sent."""
        return bool(self.out) or (self.kernel is not None and bool(self.kernel.size))

    @property
    def empty(self) -> bool:
        """Whether nothing is under way here."""
        return not self.has_bytes and (self.staging is None or self.staging.chain.empty)

    def take(self) -> None:
        """Read a piece, and pass it on."""
        source, sink, staging = self.source, self.sink, self.staging
        if source is None or not self.wants_bytes:
            return
        if self.kernel is not None:
            self._carry(self.kernel)
            return
        try:
            size = source.socket.recv_into(_BUFFER, 0 if staging is None else min(FULL_BYTES, staging.chain.room_bytes))
        except BlockingIOError:
            return
        except OSError:
            size = 0
            source.was_reset = True
        if not size:
            self._finish(Last.ABORT if source.was_reset else Last.END)
            return
        self.bytes += size
        if self.discards or (sink is None and staging is None):
            return
        if staging is not None:
            staging.feed(bytes(_VIEW[:size]))
        else:
            self._send(size)

    def _send(self, size: int) -> None:
        """The fast way: what is in the buffer goes out, and what does not go is kept."""
        assert self.sink is not None
        try:
            sent = self.sink.socket.send(_VIEW[:size])
        except BlockingIOError:
            sent = 0
        except OSError:
            self._lose_sink()
            return
        if sent < size:
            self.out.append(bytes(_VIEW[sent:size]))
            self.update()
        if size == FULL_BYTES:
            self.kernel = splice.acquire()

    def _carry(self, kernel: splice.KernelPipe) -> None:
        """The fastest way: the bytes do not come into this process."""
        assert self.source is not None
        assert self.sink is not None
        try:
            size = kernel.take(self.source.fd)
        except BlockingIOError:
            return
        except OSError:
            size = 0
            self.source.was_reset = True
        self.bytes += size
        if self._empty_kernel(kernel):
            if not size:
                self._finish(Last.ABORT if self.source.was_reset else Last.END)
            elif size < _WORTH_BYTES and not kernel.size:
                splice.release(kernel)
                self.kernel = None
            elif kernel.size:
                self.update()

    def _empty_kernel(self, kernel: splice.KernelPipe) -> bool:
        """Whether the sink is still there."""
        assert self.sink is not None
        try:
            kernel.give(self.sink.fd)
        except BlockingIOError:
            pass
        except OSError:
            self._lose_sink()
            return False
        return True

    def give(self) -> None:
        """Send what waits; then see what there is to wait for."""
        if self.kernel is not None and self.kernel.size:
            if not self._empty_kernel(self.kernel):
                return
            if self.kernel.size:
                self.update()
                return
        while self.out and not self.link.closed:
            item = self.out[0]
            if isinstance(item, Last):
                self.out.popleft()
                self.link.conclude(self, item)
            elif not self._give_piece(item):
                break
        if self.link.closed:
            return
        if self.link.ending is not None and self.empty:
            self.link.ending.settle(self)
        self.update()

    def _give_piece(self, piece: bytes | memoryview) -> bool:
        """Whether it has gone as a whole."""
        if self.sink is None:
            self.out.clear()
            return True
        try:
            sent = self.sink.socket.send(piece)
        except BlockingIOError:
            return False
        except OSError:
            self._lose_sink()
            return False
        if sent < len(piece):
            self.out[0] = memoryview(piece)[sent:]
            return False
        self.out.popleft()
        return True

    def inject(self, fault: int, data: bytes) -> None:
        """Made-up bytes, as if they had come through the stage of this fault."""
        if self.staging is not None:
            self.staging.inject(fault, data)
        else:
            self.out.append(data)
            self.give()

    def add(self, fault: int, stage: Stage, *, swallows: bool) -> None:
        """One more stage; if it `swallows`, then what is under way as well."""
        self._leave_kernel()
        self.staging = self.staging or Staging(self)
        under_way: list[Item] = []
        if swallows:
            under_way = [item if isinstance(item, Last) else bytes(item) for item in self.out]
            self.out.clear()
        self.staging.add(fault, stage, under_way)
        self.update()

    def remove(self, fault: int) -> None:
        """One stage less; the last of them clears the fast way."""
        staging = self.staging
        if staging is not None and staging.chain.has(fault):
            if len(staging.chain) == 1:
                self.staging = None
            staging.remove(fault)

    def stop(self) -> None:
        """Nobody is there to hear it: forget what is under way, and read on only to throw it away."""
        self.discards = True
        self.out.clear()
        if self.staging is not None:
            self.staging.chain.clear()
        if self.kernel is not None:
            self.kernel.drop()
            self.kernel = None

    def update(self) -> None:
        """Tell the loop what both sides wait for."""
        if self.source is not None:
            self.source.update()
        if self.sink is not None:
            self.sink.update()

    def _finish(self, last: Last) -> None:
        """The source has said its last word."""
        self.ended = True
        if self.kernel is not None:
            splice.release(self.kernel)
            self.kernel = None
        if self.discards:
            self.update()
            self.link.source_ended(self)
        elif self.staging is not None:
            self.staging.finish(last)
        elif self.out:
            self.out.append(last)
        else:
            self.link.conclude(self, last)
            if not self.link.closed:
                self.update()

    def _lose_sink(self) -> None:
        """The sink was reset. What it has said before comes by the other direction, and then its reset."""
        if self.sink is not None:
            self.sink.was_reset = True
        self.stop()
        self.done = True
        self.update()
        self.link.sink_lost(self)

    def _leave_kernel(self) -> None:
        if self.kernel is not None:
            if self.kernel.size:
                self.out.appendleft(self.kernel.emptied())
            splice.release(self.kernel)
            self.kernel = None
