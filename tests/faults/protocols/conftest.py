"""Real servers, proxies in front of them, and conversations that are fed by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from premortem.faults.proxy import FaultProxy, ProxyHost
from premortem.faults.proxy.protocols import Action, Pass, Script
from premortem.faults.proxy.protocols.scripts import script
from premortem.model.recipe import Recipe
from premortem.servers import Servers

Rehearse = Callable[..., Script]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def host() -> Iterator[ProxyHost]:
    with ProxyHost() as host:
        yield host


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    return servers.postgres().admin_url


@pytest.fixture
def payments(postgres_url: str) -> Iterator[Callable[[], list[int]]]:
    """An empty table `payments (id int)`; its value reads it, past the proxy."""
    with psycopg.connect(postgres_url, autocommit=True) as direct:
        direct.execute("DROP TABLE IF EXISTS payments")
        direct.execute("CREATE TABLE payments (id int)")
        yield lambda: [row[0] for row in direct.execute("SELECT id FROM payments ORDER BY id")]


@pytest.fixture
def postgres_proxy(postgres_url: str, host: ProxyHost) -> Iterator[FaultProxy]:
    parts = urlsplit(postgres_url)
    with host.open((parts.hostname or "", parts.port or 5432)) as proxy:
        yield proxy


@pytest.fixture
def proxied_url(postgres_url: str, postgres_proxy: FaultProxy) -> str:
    parts = urlsplit(postgres_url)
    login, _, _ = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{login}@127.0.0.1:{postgres_proxy.port}").geturl()


@pytest.fixture(scope="session")
def rehearse() -> Rehearse:
    """A script of these recipes, all of one protocol, which records if there are none."""

    def build(*recipes: str, protocol: str = "", record: bool = False, seed: int = 0, **options: str) -> Script:
        parsed = [Recipe.parse(recipe) for recipe in recipes]
        world = protocol or parsed[0].world
        return script(parsed, protocol=world, record=record or not recipes, options=options, seed=seed)

    return build


@pytest.fixture(scope="session")
def passed() -> Callable[[list[Action]], bytes]:
    return lambda actions: b"".join(action.data for action in actions if isinstance(action, Pass))
