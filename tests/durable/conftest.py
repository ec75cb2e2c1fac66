"""Places for durable state: a scratch folder, a PostgreSQL database and a Valkey of the test's own."""

from __future__ import annotations

import itertools
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest

from premortem.durable.checkpoint.stores import CheckpointStore
from premortem.durable.checkpoint.stores.file import FileStore
from premortem.durable.checkpoint.stores.postgres import PostgresStore, create_tables
from premortem.durable.checkpoint.stores.sqlite import SqliteStore
from premortem.durable.checkpoint.stores.sqlite import create_tables as create_sqlite_tables
from premortem.durable.checkpoint.stores.valkey import ValkeyStore
from premortem.durable.sessions.resp import Connection, Server
from premortem.events import Event, listening
from premortem.experiment.postgres import Database
from premortem.faults import power_loss, syscalls
from premortem.faults.strike import lifted
from premortem.servers.pool import Servers

Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def heard() -> Iterator[list[Event]]:
    """All events of the test, in order."""
    events: list[Event] = []
    with listening(events.append):
        yield events


@pytest.fixture
def eventually() -> Eventually:
    def wait(reached: Callable[[], bool], seconds: float = 60.0) -> None:
        ends = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < ends, f"did not happen within {seconds} s"
            time.sleep(0.005)

    return wait


@dataclass(frozen=True)
class Loss:
    """The folder is as a power failure may leave it; `said`: what was promised by then."""

    name: str
    said: tuple[str, ...]


Losses = Callable[[Callable[[], object]], Iterator[Loss]]


@pytest.fixture
def losses(tmp_path: Path) -> Losses:
    """Every power failure in `tmp_path`, at every moment, with what had been promised until then.

    A folder `said-*` that the function makes is a promise: kept by the system call itself, whatever the disk kept.
    """

    def lose(function: Callable[[], object]) -> Iterator[Loss]:
        before = power_loss.snapshot(tmp_path)
        ran = syscalls.run(function, watch=("file",), record_data=True, folder=tmp_path)
        assert ran.status == 0, ran.output
        promises = [(one.index, Path(one.target).name) for one in ran.operations if one.call == "mkdir"]
        for state in power_loss.disk_states(ran.operations, before, repeated=True):
            for path in tmp_path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            state.write_to(tmp_path)
            lifted("power loss", state.name)
            said = tuple(name[5:] for at, name in promises if name.startswith("said-") and at <= state.after)
            yield Loss(state.name, said)

    return lose


class Place(Protocol):
    """Somewhere to keep checkpoints, and the judge's own way to it: `alter(raw) -> raw`, or None to remove it."""

    def store(self) -> CheckpointStore: ...

    def settle(self) -> None: ...

    def alter_document(self, name: str, version: int, alter: Callable[[bytes], bytes | None]) -> None: ...

    def alter_head(self, name: str, alter: Callable[[bytes], bytes | None]) -> None: ...

    def versions(self, name: str) -> list[int]: ...


class InFolder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def store(self) -> CheckpointStore:
        return FileStore(self.folder)

    def settle(self) -> None:
        pass

    def _alter(self, path: Path, alter: Callable[[bytes], bytes | None]) -> None:
        raw = alter(path.read_bytes())
        if raw is None:
            path.unlink()
        else:
            path.write_bytes(raw)

    def alter_document(self, name: str, version: int, alter: Callable[[bytes], bytes | None]) -> None:
        self._alter(self.folder / name / f"{version:012d}.checkpoint", alter)

    def alter_head(self, name: str, alter: Callable[[bytes], bytes | None]) -> None:
        self._alter(self.folder / name / "head", alter)

    def versions(self, name: str) -> list[int]:
        return sorted(int(path.name[:12]) for path in (self.folder / name).glob("*.checkpoint"))


class InSql:
    """`execute(statement, values)` gives rows; both dialects know these statements."""

    def __init__(
        self,
        store: Callable[[], CheckpointStore],
        execute: Callable[..., list[Any]],
        settle: Callable[[], None],
        tables: str,
    ) -> None:
        self.store, self.settle, self._tables, self._execute = store, settle, tables, execute

    def _alter(self, table: str, column: str, where: str, alter: Callable[[bytes], bytes | None], *key: object) -> None:
        self.settle()
        raw = alter(bytes(self._execute(f"SELECT {column} FROM {table} WHERE {where}", key)[0][0]))
        if raw is None:
            self._execute(f"DELETE FROM {table} WHERE {where}", key)
        else:
            self._execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (raw, *key))

    def alter_document(self, name: str, version: int, alter: Callable[[bytes], bytes | None]) -> None:
        self._alter(f"{self._tables}checkpoint", "document", "name = ? AND version = ?", alter, name, version)

    def alter_head(self, name: str, alter: Callable[[bytes], bytes | None]) -> None:
        self._alter(f"{self._tables}checkpoint_head", "head", "name = ?", alter, name)

    def versions(self, name: str) -> list[int]:
        self.settle()
        rows = self._execute(f"SELECT version FROM {self._tables}checkpoint WHERE name = ? ORDER BY version", (name,))
        return [version for (version,) in rows]


class InValkey:
    def __init__(self, url: str) -> None:
        self.url = url
        self._made = ValkeyStore(url)
        self._open = Connection(Server.of(url), 5)

    def store(self) -> CheckpointStore:
        return self._made

    def settle(self) -> None:
        pass

    def alter_document(self, name: str, version: int, alter: Callable[[bytes], bytes | None]) -> None:
        key = f"premortem:checkpoint:{{{name}}}:versions"
        [before] = self._open.ask(("HGET", key, version))
        assert isinstance(before, bytes)
        raw = alter(before)
        self._open.ask(("HDEL", key, version) if raw is None else ("HSET", key, version, raw))

    def alter_head(self, name: str, alter: Callable[[bytes], bytes | None]) -> None:
        key = f"premortem:checkpoint:{{{name}}}:head"
        [before] = self._open.ask(("GET", key))
        assert isinstance(before, bytes)
        raw = alter(before)
        self._open.ask(("DEL", key) if raw is None else ("SET", key, raw))

    def versions(self, name: str) -> list[int]:
        [keys] = self._open.ask(("HKEYS", f"premortem:checkpoint:{{{name}}}:versions"))
        assert isinstance(keys, list)
        return sorted(int(key) for key in keys if isinstance(key, bytes))

    def close(self) -> None:
        self._open.close()
        self._made.close()


KINDS = ("file", "sqlite", "sqlite in a transaction", "postgres", "postgres in a transaction", "valkey")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Every kind of store in turn. `settle` commits where the transaction is the test's."""
    kind = request.param
    if kind == "file":
        yield InFolder(tmp_path / "work")
    elif kind == "valkey":
        place = InValkey(request.getfixturevalue("valkey"))
        yield place
        place.close()
    elif kind.startswith("sqlite"):
        yield from _in_sqlite(tmp_path / "work.db", own=kind == "sqlite")
    else:
        yield from _in_postgres(request.getfixturevalue("postgres"), own=kind == "postgres")


def _in_sqlite(path: Path, *, own: bool) -> Iterator[Place]:
    judge = sqlite3.connect(path, isolation_level=None)
    judge.execute("PRAGMA journal_mode=WAL")
    create_sqlite_tables(judge)
    theirs = sqlite3.connect(path)

    def in_transaction() -> CheckpointStore:
        if not theirs.in_transaction:
            theirs.execute("BEGIN IMMEDIATE")
        return SqliteStore(theirs)

    made = SqliteStore(path)

    def execute(statement: str, values: tuple[object, ...]) -> list[Any]:
        return judge.execute(statement, values).fetchall()

    yield InSql((lambda: made) if own else in_transaction, execute, theirs.commit, "premortem_")
    made.close()
    theirs.close()
    judge.close()


def _in_postgres(database: Database, *, own: bool) -> Iterator[Place]:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    judge = psycopg.connect(database.url, autocommit=True)
    create_tables(judge)
    theirs = psycopg.connect(database.url)
    made = PostgresStore(database.url) if own else PostgresStore(theirs)

    def execute(statement: Any, values: tuple[object, ...]) -> list[Any]:
        cursor = judge.execute(statement.replace("?", "%s"), values)
        return cursor.fetchall() if cursor.description else []

    yield InSql(lambda: made, execute, theirs.commit, "premortem.")
    made.close()
    theirs.close()
    judge.close()


class Opened:
    """A kind of store: `open()` gives another one for the same state, `commit` ends the caller's transaction."""

    def __init__(self, kind: str, open_one: Callable[[], tuple[Any, Any]]) -> None:
        self.kind, self._open_one = kind, open_one
        self._opened: list[tuple[Any, Any]] = []

    def open(self) -> Any:
        self._opened.append(self._open_one())
        return self._opened[-1][0]

    @property
    def connection(self) -> Any:
        """The caller's, of the store that was opened last."""
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
            store.close()
            if connection is not None:
                connection.close()


_PREFIXES = itertools.count(1)


@pytest.fixture
def opened_of(
    request: pytest.FixtureRequest, tmp_path: Path, stores: Mapping[str, Any], tables: Mapping[str, Any]
) -> Iterator[Callable[[str], Opened]]:
    """Stores of a kind. The folder's `stores` and `tables` say what opens one, and what makes its tables."""
    made: list[Opened] = []

    def opener(kind: str) -> Callable[[], tuple[Any, Any]]:
        where, _, theirs = kind.partition(" in a ")
        open_one = stores[where]
        if where == "valkey":
            url, prefix = request.getfixturevalue("valkey"), f"{tmp_path.name}-{next(_PREFIXES)}:"
            return lambda: (open_one(url, prefix=prefix), None)
        place = request.getfixturevalue("postgres").url if where == "postgres" else tmp_path / kind
        return _in_transaction(where, place, open_one, tables[where]) if theirs else lambda: (open_one(place), None)

    def make(kind: str) -> Opened:
        made.append(Opened(kind, opener(kind)))
        return made[-1]

    yield make
    for opened in made:
        opened.close()


def _in_transaction(where: str, place: Any, open_one: Any, make: Any) -> Callable[[], tuple[Any, Any]]:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    def connected() -> Any:
        if where == "postgres":
            return psycopg.connect(place)
        return sqlite3.connect(place, timeout=0.05, check_same_thread=False)

    admin = connected()
    make(admin)
    admin.commit()
    admin.close()

    def opened() -> tuple[Any, Any]:
        theirs = connected()
        return open_one(theirs), theirs

    return opened


@pytest.fixture
def own_postgres(premortem_servers: Servers) -> Iterator[Any]:
    """A PostgreSQL server of the test's own, to kill and start again."""
    from premortem.errors import MissingRequirementError  # noqa: PLC0415

    try:
        server = premortem_servers.new_postgres()
    except MissingRequirementError as missing:
        pytest.skip(str(missing))
    yield server
    server.close()


@pytest.fixture
def own_valkey(premortem_servers: Servers) -> Iterator[Any]:
    """A Valkey server of the test's own that keeps what it was told."""
    from premortem.errors import MissingRequirementError  # noqa: PLC0415

    try:
        server = premortem_servers.new_valkey({"appendonly": "yes", "appendfsync": "always"})
    except MissingRequirementError as missing:
        pytest.skip(str(missing))
    yield server
    server.close()
