"""The faults of one direction at work: the chain decides, and this feeds it, wakes it in time, and passes on."""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import TYPE_CHECKING

from premortem.faults.proxy.chain import Chain
from premortem.faults.proxy.stream import Aside, Item, Last, Stage

if TYPE_CHECKING:
    from premortem.faults.proxy.pipe import Pipe


class Staging:
    """Between a pipe's source and its `out`, as long as a fault is armed there."""

    __slots__ = ("_pipe", "_wake_at", "chain")

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._wake_at = inf
        self.chain = Chain()

    def feed(self, data: bytes) -> None:
        """Bytes from the source."""
        self.through(self.chain.feed(monotonic(), data))

    def finish(self, last: Last) -> None:
        """The source's last word."""
        self.through(self.chain.finish(monotonic(), last))

    def inject(self, fault: int, data: bytes) -> None:
        """Made-up bytes, as if they had come through that fault's stage."""
        self.through(self.chain.inject(fault, monotonic(), data) if self.chain.has(fault) else [data])

    def add(self, fault: int, stage: Stage, under_way: list[Item]) -> None:
        """One more stage; what is `under_way` behind the chain comes to it as well."""
        self.chain.add(fault, stage)
        for item in under_way:
            self.through(self.chain.reach_last(monotonic(), item))

    def remove(self, fault: int) -> None:
        """One stage less; what it held goes on."""
        self.through(self.chain.remove(fault, monotonic()))

    def replace(self, fault: int, stage: Stage) -> None:
        """Another stage in the place of that one."""
        self.through(self.chain.replace(fault, stage, monotonic()))

    def through(self, items: list[Item]) -> None:
        """These came out of the stages."""
        pipe = self._pipe
        for item in items:
            if not isinstance(item, Aside):
                pipe.out.append(item)
            elif not pipe.link.closed:
                pipe.link.aside(pipe, item)
        if not pipe.link.closed:
            self._schedule()
            pipe.give()

    def _schedule(self) -> None:
        due = self.chain.due
        if due is not None and due < self._wake_at:
            self._wake_at = due
            self._pipe.link.engine.call_at(due, self._wake)

    def _wake(self) -> None:
        self._wake_at = inf
        if not self._pipe.link.closed:
            self.through(self.chain.ready(monotonic()))
