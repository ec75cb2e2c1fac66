"""A store that is down is never silent: an error that says so, or, where asked for, memory, a count and catching up."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from premortem.durable import (
    Checkpoint,
    DeadLetters,
    FileStore,
    Idempotency,
    OwnedError,
    PostgresStore,
    SqliteStore,
    StaleOwnerError,
    StoreDownError,
    ValkeyStore,
)
from premortem.durable.checkpoint.stores.postgres import create_tables
from premortem.errors import ConfigurationError
from premortem.events import Event
from premortem.experiment.postgres import Database
from premortem.faults.proxy import FaultProxy

FORK = multiprocessing.get_context("fork")


def names(heard: list[Event]) -> list[str]:
    return [event.name for event in heard]


@pytest.fixture(params=["postgres", "valkey"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(f"own_{request.param}")


def opened(server: Any) -> PostgresStore | ValkeyStore:
    return PostgresStore(server.url()) if server.kind == "postgres" else ValkeyStore(server.url())


def test_it_stops_with_an_error_and_goes_on_after_a_restart(server: Any, heard: list[Event]) -> None:
    store = opened(server)
    checkpoint = Checkpoint(store, "job")
    checkpoint.save(1)
    server.kill()
    for act in (checkpoint.load, lambda: checkpoint.save(2), lambda: checkpoint.claim("me", 1), checkpoint.forget):
        with pytest.raises(StoreDownError, match=r"is down: .*bring it back") as caught:
            act()
        assert server.password not in str(caught.value) + repr(caught.value)
    server.start()
    found = checkpoint.load()
    assert found is not None
    assert found.value == 1
    checkpoint.save(2)
    assert names(heard).count("checkpoint.saved") == 2
    store.close()


def test_it_goes_on_in_memory_counts_and_catches_up(server: Any, heard: list[Event]) -> None:
    store = opened(server)
    checkpoint = Checkpoint(store, "job", on_store_down="go on", most_missed=5)
    checkpoint.claim("me", 3600)
    checkpoint.save(1)
    server.kill()
    for number in range(2, 6):
        assert not checkpoint.save(number).stored
    assert checkpoint.missed == 4
    held = checkpoint.load()
    assert held is not None
    assert (held.value, held.stored) == (5, False)
    with pytest.raises(StoreDownError):
        checkpoint.catch_up()
    assert not checkpoint.save(6).stored
    with pytest.raises(StoreDownError):
        checkpoint.save(7)
    server.start()
    assert checkpoint.catch_up()
    assert not checkpoint.catch_up()
    assert checkpoint.missed == 0
    again = Checkpoint(store, "job").load()
    assert again is not None
    assert (again.value, again.version, again.owner) == (6, 2, "me")
    assert names(heard).count("checkpoint.store_down") == 1
    assert heard[-1] == Event("checkpoint.caught_up", (("checkpoint", "job"), ("missed", 5)))
    server.kill()
    checkpoint.save(8)
    server.start()
    assert checkpoint.save(9).stored
    assert names(heard)[-2:] == ["checkpoint.caught_up", "checkpoint.saved"]
    store.close()


def test_what_is_in_memory_is_dropped_aloud_when_somebody_else_has_gone_on(own_valkey: Any, heard: list[Event]) -> None:
    store, other = ValkeyStore(own_valkey.url()), ValkeyStore(own_valkey.url())
    checkpoint = Checkpoint(store, "job", on_store_down="go on")
    checkpoint.claim("me", 3600)
    checkpoint.save(1)
    own_valkey.kill()
    checkpoint.save(2)
    own_valkey.start()
    Checkpoint(other, "job").claim("you", 3600, take_over=True)
    with pytest.raises(StaleOwnerError):
        checkpoint.save(3)
    assert "checkpoint.pending_dropped" in names(heard)
    found = checkpoint.load()
    assert found is not None
    assert found.value == 1
    store.close()
    other.close()


def test_going_on_without_a_transaction_that_is_gone_is_refused(postgres: Database) -> None:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    with psycopg.connect(postgres.url) as connection, pytest.raises(ConfigurationError, match="progress must be, too"):
        Checkpoint(PostgresStore(connection), "job", on_store_down="go on")
    with pytest.raises(ConfigurationError, match='has to be "stop" or "go on"'):
        Checkpoint(FileStore("."), "job", on_store_down="ignore")  # type: ignore[arg-type]


def test_postgres_restarted_between_claim_load_and_save(own_postgres: Any) -> None:
    """A recovery that is itself interrupted: the claim holds, nothing is stranded, nothing is done twice."""
    store = PostgresStore(own_postgres.url())
    first = Checkpoint(store, "job")
    first.claim("worker", 3600)
    first.save({"chunk": 7})
    store.close()

    for doing in ("claim", "load", "save"):
        again = PostgresStore(own_postgres.url())
        recovering = Checkpoint(again, "job")
        steps: list[tuple[str, Callable[[], object]]] = [
            ("claim", partial(recovering.claim, "worker", 3600)),
            ("load", recovering.load),
            ("save", partial(recovering.save, {"chunk": 8, "after": doing})),
        ]
        for step, act in steps:
            if step == doing:
                own_postgres.kill()
                with pytest.raises(StoreDownError):
                    act()
                own_postgres.start()
            act()
        with pytest.raises(OwnedError):
            Checkpoint(again, "job").claim("another", 1)
        found = Checkpoint(again, "job").load()
        assert found is not None
        assert found.value == {"chunk": 8, "after": doing}
        again.close()


@pytest.mark.parametrize("moment", ["BEGIN#1", "SELECT#1", "COMMIT#1", "COMMIT#1:after"])
def test_a_connection_cut_around_a_save_leaves_the_old_or_the_new_and_the_next_save_goes_through(
    postgres: Database, moment: str
) -> None:
    direct = PostgresStore(postgres.url)
    Checkpoint(direct, "job").save(1)
    with FaultProxy(postgres.address) as proxy:
        store = PostgresStore(postgres.through(proxy.port))
        checkpoint = Checkpoint(store, "job")
        checkpoint.load()
        with proxy.at(f"postgres:{moment}") as cut, pytest.raises(StoreDownError):
            checkpoint.save(2)
        assert cut.hit
        found = Checkpoint(direct, "job").load()
        assert found is not None
        assert found.value == (2 if moment.endswith("after") else 1)
        assert checkpoint.save(2).version == found.version + 1  # not a stranger to its own ambiguous commit
        store.close()
    direct.close()


@pytest.mark.parametrize("moment", ["EVAL#1", "EVAL#1:after", "GET#1"])
def test_a_valkey_cut_off_around_a_save(valkey: str, moment: str) -> None:
    from urllib.parse import urlsplit  # noqa: PLC0415 - beside its use

    parts = urlsplit(valkey)
    direct = ValkeyStore(valkey)
    Checkpoint(direct, "job").save(1)
    with FaultProxy((parts.hostname or "", parts.port or 0)) as proxy:
        store = ValkeyStore(f"redis://:{parts.password}@127.0.0.1:{proxy.port}/0")
        checkpoint = Checkpoint(store, "job")
        checkpoint.load()
        with proxy.at(f"redis:{moment}") as cut:
            if moment.startswith("EVAL"):
                with pytest.raises(StoreDownError):
                    checkpoint.save(2)
            else:
                checkpoint.save(2)  # a question is asked again on a new connection
        assert cut.hit
        found = Checkpoint(direct, "job").load()
        assert found is not None
        assert found.value == (1 if moment == "EVAL#1" else 2)
        assert checkpoint.save(3).version == found.version + 1
        store.close()
    direct.close()


def test_a_server_that_is_silent_is_not_waited_for_for_ever(postgres: Database, valkey: str) -> None:
    from urllib.parse import urlsplit  # noqa: PLC0415 - beside its use

    parts = urlsplit(valkey)
    with FaultProxy(postgres.address) as first, FaultProxy((parts.hostname or "", parts.port or 0)) as second:
        stores: list[Any] = [
            PostgresStore(postgres.through(first.port), wait_s=0.2, answer_s=0.5),
            ValkeyStore(f"redis://:{parts.password}@127.0.0.1:{second.port}/0", timeout_s=0.5),
        ]
        for store, proxy in zip(stores, (first, second), strict=True):
            checkpoint = Checkpoint(store, "job")
            checkpoint.save(1)
            with proxy.black_hole(), pytest.raises(StoreDownError):
                checkpoint.save(2)
            store.close()


def test_another_transaction_that_never_ends_is_not_waited_for_for_ever(postgres: Database) -> None:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    with psycopg.connect(postgres.url) as theirs, psycopg.connect(postgres.url) as ours:
        create_tables(theirs)
        theirs.commit()
        checkpoint = Checkpoint(PostgresStore(theirs), "job")
        checkpoint.save(1)
        theirs.commit()
        checkpoint.save(2)
        ours.execute("SET lock_timeout = '77s'")
        ours.commit()
        second = Checkpoint(PostgresStore(ours, wait_s=0.1), "job")
        second.load()
        with pytest.raises(StoreDownError, match="lock timeout"):
            second.save(3)
        ours.rollback()
        theirs.rollback()
        second.save(3)
        assert ours.execute("SHOW lock_timeout").fetchone() == ("77s",)
        ours.commit()


def test_a_name_that_another_transaction_is_making_is_not_waited_for_for_ever(postgres: Database) -> None:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    with psycopg.connect(postgres.url) as theirs, psycopg.connect(postgres.url) as ours:
        create_tables(theirs)
        theirs.commit()
        Checkpoint(PostgresStore(theirs), "job").save(1)
        with pytest.raises(StoreDownError, match="lock timeout"):
            Checkpoint(PostgresStore(ours, wait_s=0.1), "job").save(2)
        ours.rollback()
        theirs.commit()
        with theirs.transaction():
            Checkpoint(PostgresStore(theirs), "job").forget()
            with pytest.raises(StoreDownError, match="lock timeout"):
                Checkpoint(PostgresStore(ours, wait_s=0.1), "job").forget()
            ours.rollback()
        Checkpoint(PostgresStore(ours), "job").save(3)
        ours.commit()


def test_tables_that_are_not_there_and_schemas_by_name(postgres: Database) -> None:
    import psycopg  # noqa: PLC0415 - known to be there with the server

    with psycopg.connect(postgres.url, autocommit=True) as connection:
        with pytest.raises(ConfigurationError, match=r"call create_tables\(connection, schema='etl'\) once"):
            Checkpoint(PostgresStore(connection, schema="etl"), "job").load()
        create_tables(connection, schema="etl")
        create_tables(connection, schema="etl")
        Checkpoint(PostgresStore(connection, schema="etl"), "job").save(1)
        assert connection.execute("SELECT name, version FROM etl.checkpoint").fetchall() == [("job", 1)]
    for odd in ("", "Etl", "x; DROP", "1a", "x" * 64):
        with pytest.raises(ConfigurationError, match="rename it"):
            PostgresStore(postgres.url, schema=odd)


def test_data_and_progress_commit_together_or_not_at_all(postgres: Database) -> None:
    """Cut at every COMMIT, before and after: the rows and the checkpoint always agree."""
    import psycopg  # noqa: PLC0415 - known to be there with the server

    with psycopg.connect(postgres.url) as connection:
        create_tables(connection)
        connection.execute("CREATE TABLE rows (n int PRIMARY KEY)")
    moments = iter(("COMMIT#1", "COMMIT#1:after", "COMMIT#2", "COMMIT#2:after", "INSERT#2", "SELECT#1", None))
    with FaultProxy(postgres.address) as proxy:
        done = 0
        while done < 12:
            moment = next(moments, None)
            with psycopg.connect(postgres.through(proxy.port), autocommit=True) as connection:
                checkpoint = Checkpoint(PostgresStore(connection), "job")
                found = checkpoint.load()
                done = found.value if found and isinstance(found.value, int) else 0
                assert postgres.query("SELECT n FROM rows ORDER BY n") == [(n,) for n in range(1, done + 1)]
                try:
                    if moment is None:
                        done = work(connection, checkpoint, done)
                    else:
                        with proxy.at(f"postgres:{moment}") as cut:
                            done = work(connection, checkpoint, done)
                        assert not cut.hit
                except (psycopg.OperationalError, StoreDownError):
                    pass
    assert postgres.query("SELECT n FROM rows ORDER BY n") == [(n,) for n in range(1, done + 1)]


def work(connection: Any, checkpoint: Checkpoint, done: int) -> int:
    for number in range(done + 1, done + 5):
        with connection.transaction():
            connection.execute("INSERT INTO rows VALUES (%s)", (number,))
            checkpoint.save(number)
    return done + 4


def _use_inherited(store: Any, name: str) -> None:
    checkpoint = Checkpoint(store, name)
    for number in range(20):
        checkpoint.save(number)


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "valkey"])
def test_a_fork_opens_a_connection_of_its_own(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> None:
    store: SqliteStore | PostgresStore | ValkeyStore
    if kind == "sqlite":
        store = SqliteStore(tmp_path / "work.db")
    elif kind == "postgres":
        store = PostgresStore(request.getfixturevalue("postgres").url)
    else:
        store = ValkeyStore(request.getfixturevalue("valkey"))
    checkpoint = Checkpoint(store, "parent")
    checkpoint.save(-1)
    children = [FORK.Process(target=_use_inherited, args=(store, f"child-{number}")) for number in range(3)]
    for child in children:
        child.start()
    for number in range(20):
        checkpoint.save(number)
    for child in children:
        child.join(30)
    assert [child.exitcode for child in children] == [0, 0, 0]
    for name in ("parent", "child-0", "child-1", "child-2"):
        found = Checkpoint(store, name).load()
        assert found is not None
        assert found.value == 19
    store.close()


def test_a_valkey_that_forgot_is_told(valkey: str, heard: list[Event]) -> None:
    """A failover to a replica that was behind: fewer versions than were promised."""
    from premortem.durable.sessions.resp import Connection, Server  # noqa: PLC0415 - the judge's own

    store, judge = ValkeyStore(valkey), Connection(Server.of(valkey), 5)
    checkpoint = Checkpoint(store, "job")
    checkpoint.save(1)
    key = "premortem:checkpoint:{job}:head"
    [before] = judge.ask(("GET", key))
    checkpoint.save(2)
    assert isinstance(before, bytes)
    judge.ask(("SET", key, before), ("HDEL", "premortem:checkpoint:{job}:versions", 2))
    checkpoint.save(3)
    assert "checkpoint.store_went_back" in names(heard)
    found = Checkpoint(store, "job").load()
    assert found is not None
    assert (found.value, found.version) == (3, 3)
    judge.close()
    store.close()


def test_a_path_is_no_store(tmp_path: Path) -> None:
    path: Any = str(tmp_path / "work")
    made: list[tuple[Any, str]] = [
        (Checkpoint, "FileStore"),
        (Idempotency, "SqliteKeys"),
        (DeadLetters, "SqliteLetters"),
    ]
    for make, store in made:
        with pytest.raises(ConfigurationError, match=rf"has to be a store; write {store}\('"):
            make(path, name="invoices") if make is Checkpoint else make(path)
    with pytest.raises(ConfigurationError, match="checkpoint name 7"):
        Checkpoint(FileStore(tmp_path), 7)  # type: ignore[arg-type]
