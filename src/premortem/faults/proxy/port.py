"""One proxied port: who may connect, which connections there are, and which faults are armed."""

from __future__ import annotations

import socket
from collections import deque
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import TYPE_CHECKING

from premortem.errors import FaultError
from premortem.faults.proxy.kinds.fault import Fate, Fault
from premortem.faults.proxy.link import Link
from premortem.faults.proxy.listener import Listener
from premortem.faults.proxy.protocols import Script, Seen
from premortem.faults.proxy.refusals import Witness

if TYPE_CHECKING:
    from premortem.faults.proxy.control import Owner
    from premortem.faults.proxy.engine import Engine
    from premortem.faults.proxy.upstream import Upstreams

_KEPT = 10_000

Record = tuple[int, int, int, bool]
"""A connection: its number, how many bytes went up and down so far, and whether it is open."""


@dataclass(slots=True)
class Arm:
    """A fault that is armed under this `number`; `met` new connections have come since."""

    number: int
    fault: Fault
    script: Script | None
    met: int = 0

    def fate(self, *, live: bool) -> Fate | None:
        """What becomes of the connection that it meets now."""
        self.met += not live
        return self.fault.fate(live=live, nth=self.met)


@dataclass(slots=True)
class Place:
    """Where a port is: its `upstream` by address."""

    upstream: tuple[str, int]
    port: int = 0
    seed: int = 0
    family: int = field(init=False)

    def __post_init__(self) -> None:
        self.family = socket.AF_INET6 if ":" in self.upstream[0] else socket.AF_INET


class Port:
    """Open from the start, as long as its upstream listens and no fault keeps it closed."""

    def __init__(self, engine: Engine, owner: Owner, upstreams: Upstreams, place: Place) -> None:
        self.engine = engine
        self.upstream, self.seed, self.family = place.upstream, place.seed, place.family
        self._owner = owner
        self._upstreams = upstreams
        self._listener = Listener(engine, place.port, self._accepted)
        self.number = self._listener.port
        self._count = 0
        self._links: set[Link] = set()
        self._arms: dict[int, Arm] = {}
        self._past: deque[Record] = deque(maxlen=_KEPT)
        self._witness: Witness | None = None
        self.upstream_listens = upstreams.listens(self.upstream)
        self.refresh()

    def arm(self, number: int, fault: Fault) -> None:
        """Put a fault in, on live connections and new ones alike."""
        arm = self._arms[number] = Arm(number, fault, fault.script(self.seed))
        self.refresh()
        for link in list(self._links):
            link.meet(arm, live=True)
        if fault.ttl_s is not None:
            self.engine.call_at(monotonic() + fault.ttl_s, lambda: self._expire(arm), sharp=False)

    def change(self, number: int, fault: Fault) -> None:
        """Give a fault other parameters. FaultError where it is not there any more."""
        arm = self._arms.get(number)
        if arm is None:
            raise FaultError(f"{fault}: was taken out, or its time was up, and cannot be changed; arm it again")
        arm.fault = replace(fault, ttl_s=arm.fault.ttl_s)
        self.refresh()
        for link in list(self._links):
            link.change(arm)

    def disarm(self, number: int) -> None:
        """Take a fault out; nothing happens if it is not there any more."""
        self.look()
        if self._arms.pop(number, None) is not None:
            for link in list(self._links):
                link.part(number)
            self.refresh()

    def records(self) -> list[Record]:
        """The connections, open ones and the last ten thousand that have ended, by number."""
        return sorted([*self._past, *(_record(link) for link in self._links)])

    def close(self) -> None:
        """Refuse everybody, and end what there is."""
        if self._witness is not None:
            self._witness.close()
        self._arms.clear()
        self._listener.close()
        for link in list(self._links):
            link.close()
        self._listener.give_back()

    def refresh(self) -> None:
        """Open or close the port, as it has to be now."""
        closed = any(arm.fault.closes_port for arm in self._arms.values())
        if self.upstream_listens and not closed:
            self._listener.open()
        else:
            self._listener.close()
        if closed and self._witness is None:
            self._witness = Witness(self.engine, self.number, self._refused)
        elif not closed and self._witness is not None:
            self._witness.close()
            self._witness = None

    def look(self) -> None:
        """Tell of the strikes that nobody tells us of."""
        if self._witness is not None:
            self._witness.look()

    def set_upstream(self, *, listens: bool) -> None:
        """Whether somebody listens at the upstream was looked up."""
        if listens != self.upstream_listens:
            self.upstream_listens = listens
            self.refresh()

    def upstream_failed(self) -> None:
        """A connection to it was refused: look at once."""
        self.set_upstream(listens=self._upstreams.listens(self.upstream))

    def struck(self, number: int, link: Link, what: str, recipe: str = "") -> None:
        """A fault has hit a connection."""
        if (arm := self._arms.get(number)) is not None:
            self._owner.struck(number, link.number, what, recipe or str(arm.fault))

    def _refused(self, what: str) -> None:
        """Somebody has tried a port that a fault has closed; without an upstream it would have been closed anyway."""
        arm = next((arm for arm in self._arms.values() if arm.fault.closes_port), None)
        if arm is not None and self.upstream_listens:
            self._owner.struck(arm.number, 0, what, str(arm.fault))

    def seen(self, number: int, seen: Seen) -> None:
        """A message went by under a fault that records."""
        self._owner.seen(number, seen)

    def forget(self, link: Link) -> None:
        """A connection has ended."""
        self._links.discard(link)
        self._past.append(_record(link))

    def _accepted(self, client: socket.socket) -> None:
        self._count += 1
        link = Link(self, self._count, client)
        self._links.add(link)
        for arm in list(self._arms.values()):
            link.meet(arm, live=False)
        link.dial()

    def _expire(self, arm: Arm) -> None:
        if self._arms.get(arm.number) is arm:
            self.disarm(arm.number)
            self._owner.expired(arm.number)


def _record(link: Link) -> Record:
    return link.number, link.up.bytes, link.down.bytes, not link.closed and link.ending is None
