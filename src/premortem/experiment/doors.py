"""The lab's doors to faults, sweeps and checkers: each opens on first use, and is closed with the lab."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.experiment.ledger import Ledger
from premortem.faults import dns, environment, limits, processes, stand_ins
from premortem.faults.files import Files
from premortem.faults.leases.keeper import keeper
from premortem.faults.web_server import WebServer
from premortem.ports import Clock

if TYPE_CHECKING:
    from premortem.experiment.probe import Probe
    from premortem.faults import tls
    from premortem.faults.clock import JumpingClock, SkewedClock
    from premortem.faults.disk import SmallDisk
    from premortem.faults.dns import NameServer
    from premortem.faults.network import Network
    from premortem.faults.power_loss import DiskState
    from premortem.faults.proxy import FaultProxy
    from premortem.faults.sweep.forks import Crash
    from premortem.faults.sweep.here import Struck

# ruff: noqa: PLC0415 - what is behind a door is imported when it is opened: an exhibit uses two of twenty


@dataclass
class Doors:
    """What needs nothing but a scratch `folder`, a seed and a clock. NEEDS names what a door wants of the machine."""

    folder: Path
    seed: int
    random: random.Random
    clock: Clock
    _exit: ExitStack = field(default_factory=ExitStack, kw_only=True)

    dns = dns
    environment = environment
    limits = limits
    processes = processes
    stand_ins = stand_ins

    @cached_property
    def files(self) -> Files:
        """Faults of files below `folder`."""
        return Files(self.folder)

    def web_server(self) -> WebServer:
        """Start an HTTP server on loopback that is slow or failing on demand, and counts its requests."""
        return self._exit.enter_context(WebServer())

    def tls_server(self, kind: str = "healthy") -> tls.Server:
        """Start an HTTPS server on loopback whose certificate goes wrong on demand. NEEDS "tls"."""
        from premortem.faults import tls

        return self._exit.enter_context(tls.Server(kind, clock=self.clock))

    def proxy(self, host: str, port: int) -> FaultProxy:
        """Put a fault proxy in front of a server on loopback, in a process of its own. NEEDS "proxy"."""
        from premortem.faults.proxy import FaultProxy

        return self._exit.enter_context(FaultProxy((host, port), seed=self.seed))

    def small_disk(self, size_bytes: int, inodes: int | None = None) -> SmallDisk:
        """A disk that can be full, for what its `run` runs. NEEDS "small_disk"."""
        from premortem.faults.disk import SmallDisk

        return self._exit.enter_context(SmallDisk(size_bytes, inodes))

    def name_server(self, hosts: Mapping[str, str]) -> NameServer:
        """A name server on loopback that fails on demand, for what its `run` runs. NEEDS "dns"."""
        from premortem.faults.dns import NameServer

        return self._exit.enter_context(NameServer(hosts))

    def network(self) -> Network:
        """A network of its own that loses packets, for what its `run` runs. NEEDS "nft"."""
        from premortem.faults.network import Network

        return self._exit.enter_context(Network())

    def skewed_clock(self, offset_s: float = 0.0) -> SkewedClock:
        """A wrong clock for the processes that are started with it. NEEDS "faketime"."""
        from premortem.faults.clock import SkewedClock

        return self._exit.enter_context(SkewedClock(offset_s))

    def jumping_clock(self) -> JumpingClock:
        """The machine's clock, to be handed to the subject, and moved."""
        from premortem.faults.clock import JumpingClock

        return JumpingClock(self.clock)

    def every_crash(
        self,
        function: Callable[..., object],
        *args: object,
        effects: Collection[str] = ("kill",),
        watch: Collection[str] = ("file",),
    ) -> Iterator[Crash]:
        """Call `function(*args)` in a fork, struck at its 1st, 2nd, 3rd ... system call; yields after each death.

        What a fresh process does next is yours to judge; `folder` is put back before each run. NEEDS "syscalls".
        """
        # Unwrapped: what the watch of a subject writes to the story is no system call of the subject.
        from premortem.faults.sweep.forks import every_crash

        return every_crash(inspect.unwrap(function), *args, folder=self.folder, effects=effects, watch=watch)

    def every_power_loss(self, function: Callable[..., object], *args: object) -> Iterator[DiskState]:
        """Call `function(*args)` in a fork; then `folder` holds each state that a power failure may leave, in turn.

        NEEDS "syscalls".
        """
        from premortem.faults.sweep.forks import every_power_loss

        return every_power_loss(inspect.unwrap(function), *args, folder=self.folder)

    def every_cut(
        self,
        function: Callable[[str], object],
        url: str,
        *,
        only: Collection[str] = (),
        before: Callable[[], object] = lambda: None,
    ) -> Iterator[Struck]:
        """Call `function` with a URL that leads through a proxy, cut at each message in turn; yields after each.

        `only`: at messages of these names, such as "COMMIT"; `before` puts back what a call leaves. NEEDS "proxy".
        """
        from premortem.faults.sweep.here import sweep_wire

        return sweep_wire(function, url, only=only, before=before, seed=self.seed)

    def ledger(self, *definite: type[BaseException]) -> Ledger:
        """What was acknowledged, failed (by one of `definite`) or left unknown, to be held against a final read."""
        return Ledger(definite=definite, clock=self.clock)

    def probe(self, question: Callable[[], object], every_s: float = 0.02) -> Probe:
        """Ask `question` over and over, from before a fault until after it: `with lab.probe(...) as probe`."""
        from premortem.experiment.probe import Probe

        return Probe(question, every_s=every_s, clock=self.clock)

    def close(self) -> None:
        """Undo and stop whatever is still there, the last first."""
        try:
            self._exit.close()
        finally:
            keeper().close()
