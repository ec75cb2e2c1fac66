"""A PostgreSQL with an outbox in a database of each test's own, and what the tests say about what was published."""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest

from premortem.durable import inbox
from premortem.durable.outbox import Message, Outbox, Relay, create_tables
from premortem.errors import MissingRequirementError
from premortem.servers import Servers
from premortem.servers.databases import create, drop

Write = Callable[..., list[int]]
Drain = Callable[..., int]


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as servers:
        yield servers


@pytest.fixture(scope="session")
def postgres_url(servers: Servers) -> str:
    try:
        return servers.postgres().admin_url
    except MissingRequirementError as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def valkey_url(servers: Servers) -> str:
    try:
        return servers.valkey().admin_url
    except MissingRequirementError as missing:
        pytest.skip(str(missing))


@pytest.fixture
def url(postgres_url: str) -> Iterator[str]:
    """A database with the tables of an outbox and an inbox."""
    name = f"outbox_{uuid.uuid4().hex[:12]}"
    url = create(postgres_url, name)
    with psycopg.connect(url) as connection:
        create_tables(connection)
        inbox.create_tables(connection)
    yield url
    drop(postgres_url, name)


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(url) as connection:
        yield connection


@pytest.fixture
def write(url: str) -> Write:
    """Write messages of these keys, each with its number as the payload, in a transaction of their own."""

    def write(*keys: str | None, topic: str = "stock") -> list[int]:
        with psycopg.connect(url) as connection:
            return Outbox(connection).add_many([(topic, key, str(number)) for number, key in enumerate(keys)])

    return write


@pytest.fixture
def drain(url: str) -> Drain:
    """Publish what waits."""

    def drain(publish: Callable[..., Any], to: str = "", **settings: Any) -> int:
        return asyncio.run(Relay(to or url, publish, **settings).drain())

    return drain


class Sink(list[Message]):
    """A publisher that keeps what it is given."""

    async def __call__(self, batch: Sequence[Message]) -> None:
        self.extend(batch)

    @property
    def ids(self) -> list[int]:
        return [message.id for message in self]


@pytest.fixture
def sink() -> Sink:
    return Sink()


def first_arrivals(seen: Iterable[tuple[str | None, int]]) -> dict[str | None, list[int]]:
    """By key: the ids in the order in which they came for the first time."""
    found: dict[str | None, dict[int, None]] = defaultdict(dict)
    for key, number in seen:
        found[key].setdefault(number)
    return {key: list(ids) for key, ids in found.items()}


def in_order(seen: Iterable[tuple[str | None, int]]) -> bool:
    """Whether each key's first arrivals came in order."""
    return all(ids == sorted(ids) for ids in first_arrivals(seen).values())


@pytest.fixture(name="in_order")
def _in_order() -> Callable[[Iterable[tuple[str | None, int]]], bool]:
    return in_order


@pytest.fixture
def through(url: str) -> Callable[[int], str]:
    """The database's URL by way of a proxy's port."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    return lambda port: parts._replace(netloc=f"{login}@127.0.0.1:{port}").geturl()
