"""Fixtures that are servers: embedded and real, or the user's own by URL; a database of its own for every test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from premortem.errors import MissingRequirementError

if TYPE_CHECKING:
    from premortem.experiment.postgres import Database
    from premortem.servers.pool import Servers


@pytest.fixture(scope="session")
def premortem_servers() -> Iterator[Servers]:
    """The servers of this pytest process, started when first asked for, gone with it."""
    from premortem.servers.pool import Servers  # noqa: PLC0415 - brought in by the test that asks for it

    with Servers() as servers:
        yield servers


@pytest.fixture
def postgres(premortem_servers: Servers) -> Iterator[Database]:
    """An empty PostgreSQL database: `.url`, `.query(sql)`, `.value(sql)`, `.address`; dropped after the test."""
    try:
        admin_url, name = premortem_servers.postgres().admin_url, premortem_servers.databases().claim("test")
    except MissingRequirementError as missing:
        pytest.skip(str(missing))
    from premortem.experiment.postgres import Database  # noqa: PLC0415 - psycopg is known to be there now

    yield Database.create(admin_url, name)
    premortem_servers.databases().release(name)


@pytest.fixture
def valkey(premortem_servers: Servers) -> Iterator[str]:
    """The URL of an empty Valkey of the test's own; that of PREMORTEM_VALKEY_URL, as it is, where it is set."""
    from premortem.servers.pool import VALKEY_URL  # noqa: PLC0415 - as above

    try:
        shared = premortem_servers.valkey()
        if shared.origin == VALKEY_URL:
            yield shared.admin_url
            return
        server = premortem_servers.new_valkey()
    except MissingRequirementError as missing:
        pytest.skip(str(missing))
    yield server.url()
    server.close()
