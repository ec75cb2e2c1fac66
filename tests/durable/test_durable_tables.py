"""Tables are made once, however many services start at the same moment; who may only write need not make any."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import psycopg.rows
import pytest

from premortem.durable import Checkpoint, DeadLetters, Idempotency, inbox, outbox
from premortem.durable.checkpoint.stores import postgres as checkpoints
from premortem.durable.checkpoint.stores.postgres import PostgresStore
from premortem.durable.dead_letters.stores import postgres as letters
from premortem.durable.dead_letters.stores.postgres import PostgresLetters
from premortem.durable.idempotency.stores import postgres as keys
from premortem.durable.idempotency.stores.postgres import PostgresKeys
from premortem.experiment.postgres import Database

MAKERS: tuple[Callable[..., None], ...] = (
    checkpoints.create_tables,
    keys.create_tables,
    letters.create_tables,
    outbox.create_tables,
    inbox.create_tables,
)
TABLES = {
    "checkpoint", "checkpoint_head", "dead_letter", "idempotency", "inbox", "outbox", "outbox_identity",
    "outbox_parked", "outbox_progress",
}  # fmt: skip
SERVICES = 8


def tables(database: Database, schema: str) -> set[str]:
    return {name for (name,) in database.query(f"SELECT tablename FROM pg_tables WHERE schemaname = '{schema}'")}


@pytest.mark.parametrize("autocommit", [True, False], ids=["each alone", "in one transaction"])
def test_services_that_start_at_the_same_moment_all_get_their_tables(postgres: Database, autocommit: bool) -> None:
    for attempt in range(5):
        schema, together = f"fresh_{attempt}", threading.Barrier(SERVICES, timeout=60)

        def start(number: int, schema: str = schema, together: threading.Barrier = together) -> None:
            with psycopg.connect(postgres.url, autocommit=autocommit) as connection:
                together.wait()
                for at in range(len(MAKERS)):  # each begins with another part
                    MAKERS[(number + at) % len(MAKERS)](connection, schema=schema)

        with ThreadPoolExecutor(SERVICES) as pool:
            for started in [pool.submit(start, number) for number in range(SERVICES)]:
                started.result()
        assert tables(postgres, schema) == TABLES


@contextmanager
def opened(part: str, url: str, schema: str = "premortem") -> Iterator[Callable[[], object]]:
    """A use, which writes, of a store with a connection of its own."""
    key = uuid.uuid4().hex
    if part == "checkpoint":
        store = PostgresStore(url, schema=schema)
        yield lambda: Checkpoint(store, key).save(1)
        store.close()
    elif part == "idempotency":
        keys = PostgresKeys(url, schema=schema)
        yield lambda: Idempotency(keys).run(key, 1, lambda payload: payload)
        keys.close()
    else:
        letters = PostgresLetters(url, schema=schema)
        yield lambda: DeadLetters(letters).add({"row": 1}, "bad", key=key)
        letters.close()


PARTS = ("checkpoint", "idempotency", "dead letters")


def test_stores_that_are_opened_at_the_same_moment_make_their_tables(postgres: Database) -> None:
    together = threading.Barrier(SERVICES, timeout=60)

    def start(number: int) -> None:
        together.wait()
        for at in range(len(PARTS)):
            with opened(PARTS[(number + at) % len(PARTS)], postgres.url, "fresh") as use:
                use()

    with ThreadPoolExecutor(SERVICES) as pool:
        for started in [pool.submit(start, number) for number in range(SERVICES)]:
            started.result()
    assert tables(postgres, "fresh") == {"checkpoint", "checkpoint_head", "dead_letter", "idempotency"}


@pytest.fixture
def writer(postgres: Database) -> Iterator[str]:
    """The URL of one who may read and write what is there, and make nothing."""
    role, url = f"writer_{uuid.uuid4().hex[:12]}", postgres.url
    with psycopg.connect(url) as admin:
        for make in MAKERS:
            make(admin)
        admin.execute(
            f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA premortem TO {role};"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA premortem TO {role}".encode()
        )
    yield f"{url}{'&' if '?' in url else '?'}options=-crole%3D{role}"
    with psycopg.connect(url) as admin:
        admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize("part", PARTS)
def test_who_may_only_write_need_not_be_allowed_to_make_tables(postgres: Database, writer: str, part: str) -> None:
    with opened(part, writer) as use:
        use()
        names = {name for (name,) in postgres.query("SELECT application_name FROM pg_stat_activity")}
        assert f"premortem {part}" in names
    with psycopg.connect(writer) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TABLE premortem.another ()")


@pytest.mark.parametrize("part", PARTS)
def test_a_store_is_opened_while_somebody_writes_to_its_table(postgres: Database, part: str) -> None:
    """CREATE INDEX, even of one that is there, would wait for the writer."""
    with psycopg.connect(postgres.url) as theirs:
        for make in MAKERS:
            make(theirs)
        theirs.commit()
        theirs.execute("LOCK premortem.checkpoint, premortem.dead_letter, premortem.idempotency IN ROW EXCLUSIVE MODE")
        with opened(part, postgres.url) as use:
            use()


@pytest.mark.parametrize(
    "settings",
    [{"row_factory": psycopg.rows.dict_row}, {"cursor_factory": psycopg.RawCursor}, {"prepare_threshold": 0}],
    ids=["rows are dicts", "raw", "everything prepared"],
)
def test_whatever_the_callers_connection_is_like(postgres: Database, settings: dict[str, Any]) -> None:
    with psycopg.connect(postgres.url, **settings) as connection:
        for make in MAKERS:
            make(connection)
        assert not tables(postgres, "premortem")  # committed with the caller's transaction
        connection.commit()
        assert tables(postgres, "premortem") == TABLES
        for number in range(10):
            Checkpoint(PostgresStore(connection), f"job {number}").save(number)
            DeadLetters(PostgresLetters(connection)).add(number, "bad", key=f"row {number}")
            Idempotency(PostgresKeys(connection)).run(f"key {number}", number, lambda payload: payload)
