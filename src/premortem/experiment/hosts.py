"""What the variants of a run are given of its servers, started when the first of them asks."""

from __future__ import annotations

from typing import Protocol

from premortem.experiment.places import Places
from premortem.faults.needs import NEEDS, require
from premortem.model import FailureMode
from premortem.model.run import Fact
from premortem.servers.pool import Servers


class Hosts(Protocol):
    """Whoever provides a runner with servers."""

    def places(self, mode: FailureMode, variant: str) -> Places:
        """Addresses of what `mode` needs; `variant` is a name that nobody else of this run has.

        MissingRequirementError with the reason where something is not to be had.
        """
        ...

    def release(self, places: Places) -> None:
        """Take back what one variant was given."""
        ...


class ServerHosts:
    """Real servers: the run's own, or the user's by URL."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._origins: dict[str, str] = {}

    def places(self, mode: FailureMode, variant: str) -> Places:
        """As `Hosts`: a database of its own for every variant; a template for a server of its own."""
        for name in mode.needs:
            if name in NEEDS:
                require(name)
        postgres_url = database = valkey_url = ""
        if "postgres" in mode.needs:
            place = self._servers.postgres()
            self._origins["postgres"] = place.origin
            postgres_url, database = place.admin_url, self._servers.databases().claim(variant)
        if "valkey" in mode.needs:
            place = self._servers.valkey()
            self._origins["valkey"] = place.origin
            valkey_url = place.admin_url
        template = None
        if "own_postgres" in mode.needs:
            template = self._servers.template()
            self._origins["own postgres"] = f"embedded PostgreSQL {template.binaries.version}"
        return Places(postgres_url, database, template, valkey_url)

    def release(self, places: Places) -> None:
        """As `Hosts`: the database is dropped."""
        if places.database:
            self._servers.databases().release(places.database)

    def facts(self) -> tuple[Fact, ...]:
        """Which servers took part."""
        return tuple(Fact(name, origin) for name, origin in self._origins.items())
