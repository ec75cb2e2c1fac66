"""Stores of idempotency keys, with a connection of their own or in the transaction of the test's."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable.idempotency.stores import IdempotencyStore
from premortem.durable.idempotency.stores import postgres as in_postgres
from premortem.durable.idempotency.stores import sqlite as in_sqlite
from premortem.durable.idempotency.stores.postgres import PostgresKeys
from premortem.durable.idempotency.stores.sqlite import SqliteKeys
from premortem.durable.idempotency.stores.valkey import ValkeyKeys

OWN = ("sqlite", "postgres", "valkey")
SHARED = ("sqlite in a transaction", "postgres in a transaction")
_PREFIXES = itertools.count(1)


class Keys:
    """A kind of store: `open()` gives another one for the same keys, `commit` ends the caller's transaction."""

    def __init__(self, kind: str, open_one: Callable[[], tuple[IdempotencyStore, Any]]) -> None:
        self.kind, self._open_one = kind, open_one
        self._opened: list[tuple[IdempotencyStore, Any]] = []

    def open(self) -> IdempotencyStore:
        self._opened.append(self._open_one())
        return self._opened[-1][0]

    def commit(self) -> None:
        for _, connection in self._opened:
            if connection is not None:
                connection.commit()

    def rollback(self) -> None:
        for _, connection in self._opened:
            if connection is not None:
                connection.rollback()

    def close(self) -> None:
        for store, connection in self._opened:
            store.close()  # type: ignore[attr-defined]
            if connection is not None:
                connection.close()


@pytest.fixture
def keys_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Keys]]:
    made: list[Keys] = []

    def make(kind: str) -> Keys:
        made.append(Keys(kind, opener(kind, request, tmp_path)))
        return made[-1]

    yield make
    for keys in made:
        keys.close()


def opener(kind: str, request: pytest.FixtureRequest, folder: Path) -> Callable[[], tuple[IdempotencyStore, Any]]:
    if kind == "sqlite":
        return lambda: (SqliteKeys(folder / "keys.db"), None)
    if kind == "valkey":
        url, prefix = request.getfixturevalue("valkey"), f"keys-{folder.name}-{next(_PREFIXES)}:"
        return lambda: (ValkeyKeys(url, prefix=prefix), None)
    if kind == "sqlite in a transaction":
        with sqlite3.connect(folder / "shared.db") as connection:
            in_sqlite.create_tables(connection)
        connection.close()

        def shared() -> tuple[IdempotencyStore, Any]:
            theirs = sqlite3.connect(folder / "shared.db", timeout=0.05, check_same_thread=False)
            return SqliteKeys(theirs), theirs

        return shared
    url = request.getfixturevalue("postgres").url
    if kind == "postgres":
        return lambda: (PostgresKeys(url), None)
    with psycopg.connect(url) as admin:
        in_postgres.create_tables(admin)

    def in_transaction() -> tuple[IdempotencyStore, Any]:
        theirs = psycopg.connect(url)
        return PostgresKeys(theirs), theirs

    return in_transaction


@pytest.fixture(params=OWN + SHARED)
def keys(request: pytest.FixtureRequest, keys_of: Callable[[str], Keys]) -> Keys:
    """Every kind of store in turn."""
    return keys_of(request.param)


@pytest.fixture(params=OWN)
def own_keys(request: pytest.FixtureRequest, keys_of: Callable[[str], Keys]) -> Keys:
    """Every store with a connection of its own in turn."""
    return keys_of(request.param)
