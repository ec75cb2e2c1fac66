"""Stores of idempotency keys, with a connection of their own or in the transaction of the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from premortem.durable.idempotency.stores import postgres as in_postgres
from premortem.durable.idempotency.stores import sqlite as in_sqlite
from premortem.durable.idempotency.stores.valkey import ValkeyKeys

OWN = ("sqlite", "postgres", "valkey")
SHARED = ("sqlite in a transaction", "postgres in a transaction")


@pytest.fixture
def stores() -> dict[str, Any]:
    return {"sqlite": in_sqlite.SqliteKeys, "postgres": in_postgres.PostgresKeys, "valkey": ValkeyKeys}


@pytest.fixture
def tables() -> dict[str, Any]:
    return {"sqlite": in_sqlite.create_tables, "postgres": in_postgres.create_tables}


@pytest.fixture(params=OWN + SHARED)
def keys(request: pytest.FixtureRequest, opened_of: Callable[[str], Any]) -> Any:
    """Every kind of store in turn."""
    return opened_of(request.param)


@pytest.fixture(params=OWN)
def own_keys(request: pytest.FixtureRequest, opened_of: Callable[[str], Any]) -> Any:
    """Every store with a connection of its own in turn."""
    return opened_of(request.param)
