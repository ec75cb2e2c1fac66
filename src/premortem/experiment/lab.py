"""The only door to the world that a scenario has: scratch folder, real servers, faults, randomness, judgement.

What goes through it is safe (faults strike only what the lab owns), told (every strike and check is an event),
repeatable (randomness is seeded) and gone afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from premortem.errors import ConfigurationError, Violated
from premortem.events import emit
from premortem.experiment.doors import Doors
from premortem.experiment.places import Places
from premortem.experiment.postgres import Database, OwnServer
from premortem.experiment.subject import Blame
from premortem.servers.postgres import PostgresServer


@dataclass
class Lab(Doors):
    """One variant's laboratory.

    `folder` is an empty scratch folder, and the current one; `seed` and `random` are the same for both variants.
    """

    places: Places
    blame: Blame

    @property
    def name(self) -> str:
        """A name that no other variant of this run has: for keys and queues on a server that all share."""
        return self.folder.parent.name

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


def enter(folder: Path) -> None:
    """Make `folder` the current one, and its `tmp` the place for temporary files."""
    temporary = folder.parent / "tmp"
    folder.mkdir()
    temporary.mkdir()
    os.environ["TMPDIR"] = str(temporary)
    os.environ["PREMORTEM_FAULTS"] = str(folder.parent / "leases")  # the journal of leases is no part of the scratch
    os.chdir(folder)
