"""Where a variant finds the run's servers: plain addresses, handed into its process."""

from __future__ import annotations

from dataclasses import dataclass

from premortem.servers.postgres import Template


@dataclass(frozen=True, slots=True)
class Places:
    """Addresses; empty for a server that the exhibit did not ask for.

    `postgres_url` is an administrator's; `database` the name of the database that the variant may create;
    `template` the cluster that a server of the variant's own is copied from.
    """

    postgres_url: str = ""
    database: str = ""
    template: Template | None = None
    valkey_url: str = ""
