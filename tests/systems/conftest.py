"""A PostgreSQL for the tests of the reference systems, and a new database in it for each test."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from premortem.errors import MissingRequirementError


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    from premortem.servers import Servers  # noqa: PLC0415 - the pure tests start no server and load none

    with Servers() as servers:
        try:
            yield servers.postgres().admin_url
        except MissingRequirementError as missing:
            pytest.skip(str(missing))


@pytest.fixture
def database_url(postgres_url: str) -> Iterator[str]:
    name = f"retail_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield postgres_url.rsplit("/", 1)[0] + f"/{name}"
        admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))
