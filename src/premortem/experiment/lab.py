"""The only door to the world that a scenario has: scratch folder, real servers, faults, randomness, judgement.

What goes through it is safe (faults strike only what the lab owns), told (every strike and check is an event),
repeatable (randomness is seeded) and gone afterwards.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from premortem.errors import ConfigurationError, Violated
from premortem.events import emit
from premortem.experiment.places import Places
from premortem.experiment.postgres import Database, OwnServer
from premortem.experiment.subject import Blame
from premortem.faults import environment, processes
from premortem.faults.files import Files
from premortem.faults.relay import Relay
from premortem.faults.web_server import WebServer
from premortem.ports import Clock
from premortem.servers.postgres import PostgresServer


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

    environment = environment
    processes = processes

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

    def relay(self, host: str, port: int) -> Relay:
        """Put a relay in front of a server on loopback; it can fall silent."""
        return self._exit.enter_context(Relay((host, port)))

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
    os.chdir(folder)
