"""Killed at every system call, cut off at every statement: a letter is there whole or not at all, and once."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from premortem.durable import (
    DeadLetter,
    DeadLetters,
    DurableError,
    FileLetters,
    PostgresLetters,
    SqliteLetters,
    StoreDownError,
    ValkeyLetters,
)
from premortem.durable.dead_letters.stores import file as in_file
from premortem.durable.dead_letters.stores import postgres as in_postgres
from premortem.durable.dead_letters.stores import sqlite as in_sqlite
from premortem.faults import syscalls
from premortem.faults.sweep.forks import every_crash, every_power_loss
from premortem.faults.sweep.here import sweep_wire

needs_syscalls = pytest.mark.skipif(bool(syscalls.why_not()), reason=syscalls.why_not())
KINDS: dict[str, Callable[[Path], Any]] = {
    "file": lambda folder: FileLetters(folder / "dead"),
    "sqlite": lambda folder: SqliteLetters(folder / "dead.db"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def add(kind: str, folder: Path, key: str) -> None:
    store: Any = KINDS[kind](folder)
    DeadLetters(store).add({"row": 7}, "bad", key=key)
    store.close()


def found(kind: str, folder: Path) -> list[tuple[str, int]]:
    store: Any = KINDS[kind](folder)
    letters = [(letter.key, letter.times) for letter in DeadLetters(store).letters()]
    store.close()
    return letters


@needs_syscalls
@pytest.mark.parametrize("kind", KINDS)
def test_adding_killed_at_every_system_call(kind: str, folder: Path) -> None:
    add(kind, folder, "first")
    crashes = 0
    for crash in every_crash(add, kind, folder, "second", folder=folder, effects=("kill", "EIO")):
        there = found(kind, folder)
        assert there in ([("first", 1)], [("first", 1), ("second", 1)]), crash
        add(kind, folder, "second")  # the source comes to it again
        assert [key for key, _ in found(kind, folder)] == ["first", "second"], crash
        crashes += 1
    assert crashes > 5


@needs_syscalls
@pytest.mark.parametrize("kind", KINDS)
def test_adding_and_a_power_loss(kind: str, folder: Path) -> None:
    add(kind, folder, "first")
    for state in every_power_loss(add, kind, folder, "second", folder=folder):
        assert found(kind, folder)[:1] == [("first", 1)], state.name
        add(kind, folder, "second")
        assert [key for key, _ in found(kind, folder)] == ["first", "second"], state.name


@needs_syscalls
def test_making_the_file_shorter_killed_at_every_system_call(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_file, "_STALE_AT_LEAST", 3)
    for _ in range(3):
        add("file", folder, "first")
    add("file", folder, "other")
    size = (folder / "dead").stat().st_size
    for crash in every_crash(add, "file", folder, "first", folder=folder):
        assert found("file", folder) in ([("first", 3), ("other", 1)], [("first", 4), ("other", 1)]), crash
        add("file", folder, "first")
        assert [key for key, _ in found("file", folder)] == ["first", "other"], crash
    add("file", folder, "first")
    add("file", folder, "first")
    assert (folder / "dead").stat().st_size < size * 2


def test_the_file_does_not_grow_with_what_is_out_of_date(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_file, "_STALE_AT_LEAST", 10)
    one, other = (DeadLetters(FileLetters(folder / "dead")) for _ in range(2))
    for number in range(200):
        (one if number % 2 else other).add("x" * 100, "bad", key=f"k{number % 3}")
    assert (folder / "dead").stat().st_size < 200_000
    assert {letter.key: letter.times for letter in other.letters()} == {"k0": 67, "k1": 67, "k2": 66}
    for letters in (one, other):
        letters.store.close()  # type: ignore[attr-defined]


# -- A replay in the transaction of its effect


def replay_in_sqlite(path: Path) -> None:
    connection = sqlite3.connect(path)

    def handle(letter: DeadLetter) -> None:
        connection.execute("INSERT INTO effects VALUES (?)", (letter.key,))

    with connection:
        DeadLetters(SqliteLetters(connection)).replay(handle)
    connection.close()


@needs_syscalls
def test_a_replay_in_sqlite_killed_at_every_system_call_does_each_letter_once(folder: Path) -> None:
    path = folder / "work.db"
    connection = sqlite3.connect(path)
    in_sqlite.create_tables(connection)
    connection.execute("CREATE TABLE effects (key TEXT)")
    letters = DeadLetters(SqliteLetters(connection))
    for key in ("a", "b"):
        letters.add(1, "x", key=key)
    connection.commit()
    connection.close()
    for crash in every_crash(replay_in_sqlite, path, folder=folder):
        replay_in_sqlite(path)
        judge = sqlite3.connect(path)
        assert judge.execute("SELECT key FROM effects ORDER BY key").fetchall() == [("a",), ("b",)], crash
        judge.close()


STATEMENTS = ("BEGIN", "SAVEPOINT", "SELECT", "INSERT", "UPDATE", "RELEASE", "COMMIT")


def test_a_replay_in_postgres_cut_off_at_every_statement_does_each_letter_once(postgres: Any) -> None:
    with psycopg.connect(postgres.url) as admin:
        in_postgres.create_tables(admin)
        admin.execute("CREATE TABLE effects (key text)")

    def prepared() -> None:
        with psycopg.connect(postgres.url) as admin:
            admin.execute("TRUNCATE effects, premortem.dead_letter")
            letters = DeadLetters(PostgresLetters(admin))
            for key in ("a", "b"):
                letters.add(1, "x", key=key)

    cuts = 0
    for cut in sweep_wire(replay_in_postgres, postgres.url, before=prepared, only=STATEMENTS):
        for _ in range(100):  # the session that was cut off may still hold a letter
            if not replay_in_postgres(postgres.url):
                break
        with psycopg.connect(postgres.url) as judge:
            assert judge.execute("SELECT key FROM effects ORDER BY key").fetchall() == [("a",), ("b",)], cut
        cuts += 1
    assert cuts > 10


def replay_in_postgres(url: str) -> int:
    """How many were left alone."""
    with psycopg.connect(url, connect_timeout=5) as connection:

        def handle(letter: DeadLetter) -> None:
            connection.execute("INSERT INTO effects VALUES (%s)", (letter.key,))

        return DeadLetters(PostgresLetters(connection)).replay(handle).skipped


# -- Elsewhere


def test_adding_to_postgres_and_valkey_cut_off_at_every_message(postgres: Any, valkey: str) -> None:
    for kind, url in (("postgres", postgres.url), ("valkey", valkey)):
        names = iter(range(10_000))
        current = [""]

        def opened(url: str, kind: str = kind) -> Any:
            return PostgresLetters(url) if kind == "postgres" else ValkeyLetters(url, prefix=f"cut-{os.getpid()}:")

        def fresh(current: list[str] = current, names: Any = names) -> None:
            current[0] = f"run-{next(names)}"

        def put(url: str, current: list[str] = current, opened: Any = opened) -> None:
            store = opened(url)
            try:
                DeadLetters(store, current[0]).add(1, "x", key="a")
            finally:
                store.close()

        warm = opened(url)
        warm.tallies("n")
        only = (*STATEMENTS, "HGET", "EVAL", "HGETALL", "TIME")
        for cut in sweep_wire(put, url, before=fresh, only=only):
            assert cut.error is None or isinstance(cut.error, DurableError), cut
            letters = DeadLetters(warm, current[0])
            assert letters.counts() in ({}, {"x": 1}), cut
            if cut.error is None:
                assert letters.counts() == {"x": 1}, cut
            put(url)
            assert letters.counts() == {"x": 1}, cut
        warm.close()


def test_a_file_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreDownError, match="No such file"):
        DeadLetters(FileLetters(tmp_path / "no" / "dead")).add(1, "x", key="a")
