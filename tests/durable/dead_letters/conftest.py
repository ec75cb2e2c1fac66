"""Stores of dead letters, with a connection of their own or in the transaction of the test's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from premortem.durable.dead_letters.stores import postgres as in_postgres
from premortem.durable.dead_letters.stores import sqlite as in_sqlite
from premortem.durable.dead_letters.stores.file import FileLetters
from premortem.durable.dead_letters.stores.valkey import ValkeyLetters

OWN = ("file", "sqlite", "postgres", "valkey")
SHARED = ("sqlite in a transaction", "postgres in a transaction")


@pytest.fixture
def stores() -> dict[str, Any]:
    return {
        "file": FileLetters,
        "sqlite": in_sqlite.SqliteLetters,
        "postgres": in_postgres.PostgresLetters,
        "valkey": ValkeyLetters,
    }


@pytest.fixture
def tables() -> dict[str, Any]:
    return {"sqlite": in_sqlite.create_tables, "postgres": in_postgres.create_tables}


@pytest.fixture(params=OWN + SHARED)
def box(request: pytest.FixtureRequest, opened_of: Callable[[str], Any]) -> Any:
    """Every kind of store in turn."""
    return opened_of(request.param)


@pytest.fixture(params=OWN)
def own_box(request: pytest.FixtureRequest, opened_of: Callable[[str], Any]) -> Any:
    """Every store with a connection of its own in turn."""
    return opened_of(request.param)
