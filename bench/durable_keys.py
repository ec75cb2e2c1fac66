"""How many runs, replays and dead letters a second each store of premortem.durable takes.

    python bench/durable_keys.py

One process, one thread, the best of three rounds; fsync is on, except in Valkey, which runs as `Servers` starts it.
"""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable
from typing import Any

import psycopg

from premortem.durable import (
    DeadLetters,
    FileLetters,
    Idempotency,
    PostgresKeys,
    PostgresLetters,
    SqliteKeys,
    SqliteLetters,
    ValkeyKeys,
    ValkeyLetters,
)
from premortem.durable.dead_letters.stores import postgres as letters_postgres
from premortem.durable.dead_letters.stores import sqlite as letters_sqlite
from premortem.durable.idempotency.stores import postgres as keys_postgres
from premortem.durable.idempotency.stores import sqlite as keys_sqlite
from premortem.servers import Servers

ROUNDS, CALLS = 3, 300
Commit = Callable[[], object]
_fresh = itertools.count()


def rate(call: Callable[[], object], commit: Commit) -> int:
    """Calls a second, each with its commit."""
    best = 0.0
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
            commit()
        best = max(best, CALLS / (time.perf_counter() - began))
    return round(best)


def nothing() -> None:
    """The store commits by itself."""


def keys(name: str, store: Any, commit: Commit) -> None:  # noqa: ANN401 - any of the stores
    """A line for a store of idempotency keys."""
    once = Idempotency(store)
    runs = rate(lambda: once.run(f"key {next(_fresh)}", 1, lambda payload: payload), commit)
    replays = rate(lambda: once.run("the same", 1, lambda payload: payload), commit)
    print(f"keys     {name:32} {runs:>7,} runs/s {replays:>7,} replays/s")


def letters(name: str, store: Any, commit: Commit) -> None:  # noqa: ANN401 - as above
    """A line for a store of dead letters."""
    dead = DeadLetters(store)
    adds = rate(lambda: dead.add({"row": 1}, "bad", key=f"row {next(_fresh)}"), commit)
    began = time.perf_counter()
    came = dead.replay(lambda _: None)
    commit()
    print(f"letters  {name:32} {adds:>7,} adds/s {round(came.replayed / (time.perf_counter() - began)):>7,} replays/s")


def main() -> None:
    """Print a line for each store."""
    with Servers() as servers, tempfile.TemporaryDirectory() as folder:
        postgres, valkey = servers.postgres().admin_url, servers.valkey().admin_url
        theirs = psycopg.connect(postgres)
        keys_postgres.create_tables(theirs)
        letters_postgres.create_tables(theirs)
        theirs.commit()
        file = sqlite3.connect(f"{folder}/theirs.db")
        file.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        keys_sqlite.create_tables(file)
        letters_sqlite.create_tables(file)
        file.commit()

        keys("sqlite", SqliteKeys(f"{folder}/keys.db"), nothing)
        keys("sqlite, caller's transaction", SqliteKeys(file), file.commit)
        keys("postgres", PostgresKeys(postgres), nothing)
        keys("postgres, caller's transaction", PostgresKeys(theirs), theirs.commit)
        keys("valkey", ValkeyKeys(valkey), nothing)
        letters("file", FileLetters(f"{folder}/dead.letters"), nothing)
        letters("sqlite", SqliteLetters(f"{folder}/dead.db"), nothing)
        letters("sqlite, caller's transaction", SqliteLetters(file), file.commit)
        letters("postgres", PostgresLetters(postgres), nothing)
        letters("postgres, caller's transaction", PostgresLetters(theirs), theirs.commit)
        letters("valkey", ValkeyLetters(valkey), nothing)


if __name__ == "__main__":
    main()
