"""The only door to the world that a scenario has: scratch folder, real servers, faults, randomness, judgement.

What goes through it is safe (faults strike only what the lab owns), told (every strike and check is an event),
repeatable (randomness is seeded) and gone afterwards.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.errors import ConfigurationError, Violated
from premortem.events import emit
from premortem.experiment.places import Places
from premortem.experiment.postgres import Database, OwnServer
from premortem.experiment.subject import Blame
from premortem.faults import dns, environment, limits, processes, stand_ins
from premortem.faults.files import Files
from premortem.faults.web_server import WebServer
from premortem.ports import Clock
from premortem.servers.postgres import PostgresServer

if TYPE_CHECKING:
    from premortem.faults import tls
    from premortem.faults.clock import JumpingClock, SkewedClock
    from premortem.faults.disk import SmallDisk
    from premortem.faults.dns import NameServer
    from premortem.faults.network import Network
    from premortem.faults.power_loss import DiskState
    from premortem.faults.proxy import FaultProxy
    from premortem.faults.sweep.forks import Crash
    from premortem.faults.sweep.here import Struck


@dataclass
class Lab:
    """One variant's laboratory.

    `folder` is an empty scratch folder, and the current one; `seed` and `random` are the same for both variants.
    """

    folder: Path
    seed: int
    random: random.Random
    places: Places
    blame: Blame
    clock: Clock
    _exit: ExitStack = field(default_factory=ExitStack)

    dns = dns
    environment = environment
    limits = limits
    processes = processes
    stand_ins = stand_ins

    @property
    def name(self) -> str:
        """A name that no other variant of this run has: for keys and queues on a server that all share."""
        return self.folder.parent.name

    @cached_property
    def files(self) -> Files:
        """Faults of files below `folder`."""
        return Files(self.folder)

    @cached_property
    def postgres(self) -> Database:
        """An empty database of this variant's own, on the run's PostgreSQL. Wants NEEDS = ("postgres",)."""
        return Database.create(self.places.postgres_url, self.places.database)

    @property
    def valkey_url(self) -> str:
        """The run's Valkey. Wants NEEDS = ("valkey",)."""
        if not self.places.valkey_url:
            raise ConfigurationError('lab.valkey_url: this exhibit did not ask for it; write NEEDS = ("valkey",)')
        return self.places.valkey_url

    def own_postgres(self) -> OwnServer:
        """Start a server for this variant alone (0.3 s), to strike down. Wants NEEDS = ("own_postgres",)."""
        if self.places.template is None:
            raise ConfigurationError('lab.own_postgres(): not asked for; write NEEDS = ("own_postgres",)')
        server = PostgresServer(self.folder.parent / "postgres", template=self.places.template)
        return OwnServer(self._exit.enter_context(server))

    def web_server(self) -> WebServer:
        """Start an HTTP server on loopback that is slow or failing on demand, and counts its requests."""
        return self._exit.enter_context(WebServer())

    def tls_server(self, kind: str = "healthy") -> tls.Server:
        """Start an HTTPS server on loopback whose certificate goes wrong on demand. Wants NEEDS = ("tls",)."""
        from premortem.faults import tls  # noqa: PLC0415 - 60 ms that only few exhibits need

        return self._exit.enter_context(tls.Server(kind, clock=self.clock))

    def proxy(self, host: str, port: int) -> FaultProxy:
        """Put a fault proxy in front of a server on loopback, in a process of its own."""
        from premortem.faults.proxy import FaultProxy  # noqa: PLC0415 - as above

        return self._exit.enter_context(FaultProxy((host, port), seed=self.seed))

    def small_disk(self, size_bytes: int, inodes: int | None = None) -> SmallDisk:
        """A disk that can be full, for what `disk.run` runs. Wants NEEDS = ("small_disk",)."""
        from premortem.faults.disk import SmallDisk  # noqa: PLC0415 - as above

        return self._exit.enter_context(SmallDisk(size_bytes, inodes))

    def name_server(self, hosts: Mapping[str, str]) -> NameServer:
        """A name server on loopback that fails on demand, for what its `run` runs. Wants NEEDS = ("dns",)."""
        from premortem.faults.dns import NameServer  # noqa: PLC0415 - as above

        return self._exit.enter_context(NameServer(hosts))

    def network(self) -> Network:
        """A network of its own that loses packets, for what its `run` runs. Wants NEEDS = ("nft",)."""
        from premortem.faults.network import Network  # noqa: PLC0415 - as above

        return self._exit.enter_context(Network())

    def skewed_clock(self, offset_s: float = 0.0) -> SkewedClock:
        """A wrong clock for the processes that are started with it. Wants NEEDS = ("faketime",)."""
        from premortem.faults.clock import SkewedClock  # noqa: PLC0415 - as above

        return self._exit.enter_context(SkewedClock(offset_s))

    def jumping_clock(self) -> JumpingClock:
        """The machine's clock, to be handed to the subject, and moved."""
        from premortem.faults.clock import JumpingClock  # noqa: PLC0415 - as above

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
        from premortem.faults.sweep.forks import every_crash  # noqa: PLC0415 - as above

        return every_crash(function, *args, folder=self.folder, effects=effects, watch=watch)

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
        from premortem.faults.sweep.here import sweep_wire  # noqa: PLC0415 - as above

        return sweep_wire(function, url, only=only, before=before, seed=self.seed)

    def every_power_loss(self, function: Callable[..., object], *args: object) -> Iterator[DiskState]:
        """Call `function(*args)` in a fork; then `folder` holds each state that a power failure may leave, in turn.

        Wants NEEDS = ("syscalls",).
        """
        from premortem.faults.sweep.forks import every_power_loss  # noqa: PLC0415 - as above

        return every_power_loss(function, *args, folder=self.folder)

    def check(self, invariant: str, holds: bool, evidence: str = "") -> None:  # noqa: FBT001 - check("...", a == b)
        """Judge: `invariant` in words, whether it `holds`, and what was seen. Raises Violated when it does not."""
        emit("check.held" if holds else "check.broken", what=invariant, seen=evidence or None)
        if not holds:
            violated = Violated(invariant, evidence)
            with self.blame.subject():
                raise violated

    @contextmanager
    def as_subject(self) -> Iterator[None]:
        """What fails in this block is the subject's failure, not the judge's: "the next start reads the file"."""
        with self.blame.subject():
            yield

    def close(self) -> None:
        """Undo and stop whatever is still there, the last first."""
        self._exit.close()


def enter(folder: Path) -> None:
    """Make `folder` the current one, and its `tmp` the place for temporary files."""
    temporary = folder.parent / "tmp"
    folder.mkdir()
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    os.environ["PREMORTEM_FAULTS"] = str(folder.parent / "leases")  # the journal of leases is no part of the scratch
    os.chdir(folder)
