"""A database that is away, refuses, is slow or falls silent: an error in our words, in time, without a secret."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from premortem.events import Event, listening
from premortem.systems.retail.database import connect
from premortem.systems.retail.errors import (
    AlreadyLoadedError,
    CommitUnknownError,
    DatabaseAccessError,
    DatabaseTimeoutError,
    DatabaseUnreachableError,
    RetailError,
)
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.sample import write_sample
from premortem.systems.retail.settings import read_settings
from premortem.systems.retail.target import parse_target

Count = Callable[[], tuple[int, int, int]]
SECRET = "s3cr3t-w0rd"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "a.csv", 100, dirty=False).path


def failing(path: Path, url: str, expected: type[RetailError], **overrides: float) -> str:
    with pytest.raises(RetailError) as caught:
        ingest(path, settings=read_settings(url, **overrides))
    error = caught.value
    assert type(error) is expected, error
    password = urlsplit(url).password
    assert password
    shown = "".join(traceback.format_exception(error)) + repr(error)
    assert password not in shown
    assert url not in shown
    return str(error)


def test_nobody_listens(path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        said = failing(path, f"postgresql://shop:{SECRET}@127.0.0.1:{port}/retail", DatabaseUnreachableError)
    assert f"127.0.0.1:{port}" in said
    assert "is the server up" in said


def test_no_such_host(path: Path) -> None:
    said = failing(path, f"postgresql://shop:{SECRET}@no-such-host.invalid/retail", DatabaseUnreachableError)
    assert "no-such-host.invalid:5432" in said


def test_a_port_that_never_answers(path: Path) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"postgresql://shop:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/retail"
        said = failing(path, url, DatabaseTimeoutError, connect_timeout_s=2)
    assert "no answer within 2 s" in said


def test_wrong_password(path: Path, postgres_url: str, caplog: pytest.LogCaptureFixture) -> None:
    parts = urlsplit(postgres_url)
    if parts.password is None:
        pytest.skip("this server asks for no password")
    caplog.set_level(logging.DEBUG)
    url = f"postgresql://{parts.username}:{SECRET}@{parts.hostname}:{parts.port}/postgres"
    said = failing(path, url, DatabaseAccessError)
    assert str(parts.username) in said
    assert "check user, password and database" in said
    assert SECRET not in caplog.text


def test_no_such_database(path: Path, postgres_url: str) -> None:
    said = failing(path, postgres_url.rsplit("/", 1)[0] + "/nowhere", DatabaseAccessError)
    assert "'nowhere'" in said


def test_a_user_without_rights(path: Path, database_url: str, postgres_url: str, count: Count) -> None:
    name = f"reader_{os.getpid()}"
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"create role {name} login password '{SECRET}'".encode())
        try:
            parts = urlsplit(database_url)
            url = f"postgresql://{name}:{SECRET}@{parts.hostname}:{parts.port}{parts.path}"
            said = failing(path, url, DatabaseAccessError)
        finally:
            admin.execute(f"drop role {name}".encode())
    assert "have schema bronze created" in said
    assert count() == (0, 0, 0)


def test_a_lock_that_is_not_given_up(path: Path, database_url: str, count: Count) -> None:
    ingest(path, database_url)
    with psycopg.connect(database_url) as other:
        other.execute("lock table bronze.batches in access exclusive mode")
        said = failing(path, database_url, DatabaseTimeoutError, statement_timeout_s=0.3)
    assert "took longer than 0.3 s" in said
    assert count() == (100, 0, 1)


@pytest.fixture
def backends() -> Iterator[list[int]]:
    """Server processes that a test stopped: woken up again at its end."""
    stopped: list[int] = []
    yield stopped
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)


def striking(url: str, event_name: str, strike: Callable[[int], None]) -> Callable[[Event], None]:
    """Strike the server process that serves the ingest, at the first `event_name`."""
    done: list[int] = []

    def listener(event: Event) -> None:
        if event.name != event_name or done:
            return
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "select pid from pg_stat_activity where application_name = 'premortem-retail'"
                " and datname = current_database()"
            ).fetchone()
        assert row is not None
        done.append(row[0])
        strike(row[0])

    return listener


def on_this_machine(url: str) -> None:
    if urlsplit(url).hostname not in {"127.0.0.1", "localhost"}:
        pytest.skip("only a server on this machine can be stopped")


def test_a_server_that_falls_silent(path: Path, database_url: str, count: Count, backends: list[int]) -> None:
    """Its kernel still acknowledges and answers keepalives: only our own deadline can tell."""
    on_this_machine(database_url)

    def freeze(pid: int) -> None:
        backends.append(pid)
        os.kill(pid, signal.SIGSTOP)

    began = time.monotonic()
    with listening(striking(database_url, "retail.loaded", freeze)):
        said = failing(path, database_url, DatabaseTimeoutError, statement_timeout_s=0.3, chunk_rows=10)
    assert "was silent for 0.6 s" in said
    assert time.monotonic() - began < 5
    os.kill(backends.pop(), signal.SIGCONT)
    assert count() == (0, 0, 0)


def test_a_server_process_that_dies(path: Path, database_url: str, count: Count) -> None:
    def terminate(pid: int) -> None:
        with psycopg.connect(database_url) as connection:
            connection.execute("select pg_terminate_backend(%s, 5000)", [pid])

    with listening(striking(database_url, "retail.loaded", terminate)):
        said = failing(path, database_url, DatabaseUnreachableError, chunk_rows=10)
    assert "the connection broke" in said
    assert count() == (0, 0, 0)


def test_an_answer_to_commit_that_is_lost(path: Path, database_url: str, count: Count, backends: list[int]) -> None:
    """The one error that does not know. The server has the COMMIT before it; running again is safe either way."""
    on_this_machine(database_url)

    def freeze(pid: int) -> None:
        backends.append(pid)
        os.kill(pid, signal.SIGSTOP)

    with listening(striking(database_url, "retail.committing", freeze)):
        said = failing(path, database_url, CommitUnknownError, statement_timeout_s=0.3)
    assert "run it again: it is refused if the batch is there" in said
    os.kill(backends.pop(), signal.SIGCONT)
    with suppress(AlreadyLoadedError):
        ingest(path, database_url)
    assert count() == (100, 0, 1)


def test_no_thread_and_no_connection_stays(path: Path, database_url: str) -> None:
    import threading  # noqa: PLC0415

    ingest(path, database_url)
    with pytest.raises(RetailError):
        ingest(path, database_url)
    assert not [thread for thread in threading.enumerate() if thread.name == "retail-watchdog"]
    settings = read_settings(database_url)
    with connect(parse_target(database_url), settings) as session:
        row = session.connection.execute(
            "select count(*) from pg_stat_activity where datname = current_database()"
            " and application_name = 'premortem-retail'"
        ).fetchone()
    assert row == (1,)
