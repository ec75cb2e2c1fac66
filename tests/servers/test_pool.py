"""The servers and databases of a run, embedded or the user's own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.servers import binaries, databases
from premortem.servers.pool import Place, Servers
from premortem.servers.postgres import PostgresServer, Template
from premortem.servers.run_databases import RunDatabases
from premortem.servers.valkey import ValkeyServer

Eventually = Callable[[Callable[[], bool], float], float]


class Owner(Protocol):
    words: list[str]

    def kill(self) -> None: ...


@pytest.fixture(scope="module")
def theirs(template: Template) -> Iterator[PostgresServer]:
    """A server of the user's own."""
    with PostgresServer(template=template) as server:
        yield server


def names(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_one_server_for_all_who_ask_and_one_more_to_kill() -> None:
    with Servers(environ={}) as servers:
        found: list[Place] = []
        threads = [threading.Thread(target=lambda: found.append(servers.postgres())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({place.admin_url for place in found}) == 1
        assert found[0].origin.startswith("embedded PostgreSQL ")
        assert found[0].admin_url not in repr(found[0])
        assert servers.valkey() is servers.valkey()
        mine = servers.new_postgres({"max_connections": "7"})
        mine.kill()
        url = servers.databases().create("exhibit")
        with psycopg.connect(url) as connection:
            assert connection.info.dbname == servers.databases().name("exhibit")
        folder = mine.folder.parent
        assert folder.exists()
    assert not folder.exists()


def test_the_users_own_server_is_used_and_left_as_it_was(theirs: PostgresServer) -> None:
    before = names(theirs.url())
    with Servers(environ={"PREMORTEM_POSTGRES_URL": theirs.url()}) as servers:
        place = servers.postgres()
        assert (place.admin_url, place.origin) == (theirs.url(), "PREMORTEM_POSTGRES_URL")
        run = servers.databases()
        with psycopg.connect(run.create("first")) as connection:
            connection.execute("CREATE TABLE kept (x int)")
        connection = psycopg.connect(run.create("second", template="first"))
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
        run.drop("second")  # although somebody is connected
        connection.close()
        assert names(theirs.url()) - before == {run.name("first")}
    assert names(theirs.url()) == before
    assert theirs.alive()


def test_the_users_own_valkey() -> None:
    with ValkeyServer() as theirs:
        place = Servers(environ={"PREMORTEM_VALKEY_URL": theirs.url()}).valkey()
        assert place == Place(theirs.url(), "PREMORTEM_VALKEY_URL")
        wrong = theirs.url().replace(theirs.password, "hunter2")
        with pytest.raises(ConfigurationError, match="WRONGPASS") as caught:
            Servers(environ={"PREMORTEM_VALKEY_URL": wrong}).valkey()
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "host=localhost password=hunter2",
        "postgresql://me:hunter2@/db",
        "mysql://me:hunter2@localhost/db",
        "postgresql://me:hunter2@localhost:port/db",
        "postgresql://me:hunter2@@localhost:0/db",
        "postgresql://me:hunter2@127.0.0.1:9/db",
    ],
)
def test_a_wrong_url_is_refused_in_words_without_its_password(url: str) -> None:
    servers = Servers(environ={"PREMORTEM_POSTGRES_URL": url})
    with pytest.raises(ConfigurationError, match=r"^PREMORTEM_POSTGRES_URL=.*must .*correct") as caught:
        servers.postgres()
    assert "hunter2" not in str(caught.value)
    with pytest.raises(ConfigurationError) as again:
        servers.postgres()
    assert again.value is caught.value


def test_the_wrong_password_of_a_url_is_not_shown(theirs: PostgresServer) -> None:
    url = theirs.url().replace(theirs.password, "hunter2")
    with pytest.raises(ConfigurationError, match="authentication failed") as caught:
        Servers(environ={"PREMORTEM_POSTGRES_URL": url}).postgres()
    assert "hunter2" not in str(caught.value)


def test_what_is_not_to_be_had_is_looked_for_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries, "POSTGRES_WHEELS", ())
    monkeypatch.setattr(binaries, "INSTALLED", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with Servers(environ={}) as servers:
        with pytest.raises(MissingRequirementError, match="looked at") as caught:
            servers.postgres()
        monkeypatch.undo()
        with pytest.raises(MissingRequirementError) as again:
            servers.postgres()
        assert again.value is caught.value


KILLED = """
import time
from premortem.servers.run_databases import RunDatabases
run = RunDatabases({url!r})
run.create("left")
print(run.name("left"), flush=True)
time.sleep(60)
"""


def test_databases_of_a_killed_run_are_swept_and_those_of_a_live_one_are_not(
    theirs: PostgresServer, spawn: Callable[[str], Owner], eventually: Eventually
) -> None:
    databases.create(theirs.url(), "premortem_run_away")
    other = databases.create(theirs.url(), "users")  # a live run may sit in any database
    dead, alive = (spawn(KILLED.format(url=url)) for url in (theirs.url(), other))
    dead.kill()

    def swept() -> bool:
        with RunDatabases(theirs.url()) as run:
            return dead.words[0] in run.swept

    eventually(swept, 5)
    left = names(theirs.url())
    assert alive.words[0] in left
    assert {"premortem_run_away", "users"} <= left


def test_a_run_claims_its_databases_again_after_a_restart(theirs: PostgresServer) -> None:
    with RunDatabases(theirs.url()) as run:
        run.create("before")
        theirs.kill()
        theirs.start()
        run.create("after")
        with RunDatabases(theirs.url()) as other:
            assert not {run.name("before"), run.name("after")} & set(other.swept)


@pytest.mark.parametrize("name", ["", "1a", "a-b", 'a"; DROP', "Upper", "x" * 64])
def test_a_name_that_is_not_plain_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="must be 1-63 of"):
        databases.drop("postgresql://nowhere/", name)


def test_a_url_keeps_all_but_its_database() -> None:
    url = "postgresql://me:p%40ss@host:5433/postgres?sslmode=require"
    assert databases.url_with_database(url, "new") == "postgresql://me:p%40ss@host:5433/new?sslmode=require"


@pytest.mark.parametrize(
    "url", ["postgresql://me:hunter2@h/d", "redis://:hunter2@h", "x://me:a@hunter2@h", "host=h password=hunter2 x=1"]
)
def test_a_masked_url_shows_no_password(url: str) -> None:
    assert "hunter2" not in databases.masked(url)
    assert "***" in databases.masked(url)
