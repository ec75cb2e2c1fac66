"""Stores of dead letters, with a connection of their own or in the transaction of the test's."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable.dead_letters.stores import DeadLetterStore
from premortem.durable.dead_letters.stores import postgres as in_postgres
from premortem.durable.dead_letters.stores import sqlite as in_sqlite
from premortem.durable.dead_letters.stores.file import FileLetters
from premortem.durable.dead_letters.stores.postgres import PostgresLetters
from premortem.durable.dead_letters.stores.sqlite import SqliteLetters
from premortem.durable.dead_letters.stores.valkey import ValkeyLetters

OWN = ("file", "sqlite", "postgres", "valkey")
SHARED = ("sqlite in a transaction", "postgres in a transaction")
_PREFIXES = itertools.count(1)


class Box:
    """A kind of store: `open()` gives another one for the same letters, `commit` ends the caller's transaction."""

    def __init__(self, kind: str, open_one: Callable[[], tuple[DeadLetterStore, Any]]) -> None:
        self.kind, self._open_one = kind, open_one
        self._opened: list[tuple[DeadLetterStore, Any]] = []

    def open(self) -> DeadLetterStore:
        self._opened.append(self._open_one())
        return self._opened[-1][0]

    @property
    def connection(self) -> Any:
        return self._opened[-1][1]

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
def box_of(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Box]]:
    made: list[Box] = []

    def make(kind: str) -> Box:
        made.append(Box(kind, opener(kind, request, tmp_path)))
        return made[-1]

    yield make
    for box in made:
        box.close()


def opener(kind: str, request: pytest.FixtureRequest, folder: Path) -> Callable[[], tuple[DeadLetterStore, Any]]:
    if kind == "file":
        return lambda: (FileLetters(folder / "dead.letters"), None)
    if kind == "sqlite":
        return lambda: (SqliteLetters(folder / "dead.db"), None)
    if kind == "valkey":
        url, prefix = request.getfixturevalue("valkey"), f"dead-{folder.name}-{next(_PREFIXES)}:"
        return lambda: (ValkeyLetters(url, prefix=prefix), None)
    if kind == "sqlite in a transaction":
        connection = sqlite3.connect(folder / "shared.db")
        in_sqlite.create_tables(connection)
        connection.commit()
        connection.close()

        def shared() -> tuple[DeadLetterStore, Any]:
            theirs = sqlite3.connect(folder / "shared.db", timeout=0.05, check_same_thread=False)
            return SqliteLetters(theirs), theirs

        return shared
    url = request.getfixturevalue("postgres").url
    if kind == "postgres":
        return lambda: (PostgresLetters(url), None)
    with psycopg.connect(url) as admin:
        in_postgres.create_tables(admin)

    def in_transaction() -> tuple[DeadLetterStore, Any]:
        theirs = psycopg.connect(url)
        return PostgresLetters(theirs), theirs

    return in_transaction


@pytest.fixture(params=OWN + SHARED)
def box(request: pytest.FixtureRequest, box_of: Callable[[str], Box]) -> Box:
    """Every kind of store in turn."""
    return box_of(request.param)


@pytest.fixture(params=OWN)
def own_box(request: pytest.FixtureRequest, box_of: Callable[[str], Box]) -> Box:
    """Every store with a connection of its own in turn."""
    return box_of(request.param)
