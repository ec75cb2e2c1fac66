"""What every embedded server must do, whatever its kind."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psycopg
import pytest

from premortem.errors import ConfigurationError
from premortem.servers import embedded
from premortem.servers.embedded import EmbeddedServer
from premortem.servers.loopback import free_port, is_free
from premortem.servers.postgres import PostgresServer, Template
from premortem.servers.valkey import ValkeyServer, _encode

Make = Callable[..., EmbeddedServer]
Eventually = Callable[[Callable[[], bool], float], float]
NONE: Mapping[str, str] = MappingProxyType({})
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


@pytest.fixture(params=["postgres", "valkey"])
def make(request: pytest.FixtureRequest, template: Template, place: Path) -> Iterator[Make]:
    made: list[EmbeddedServer] = []

    def build(settings: Mapping[str, str] = NONE) -> EmbeddedServer:
        folder = place / f"server-{len(made)}"
        if request.param == "postgres":
            made.append(PostgresServer(folder, template=template, settings=settings))
        else:
            made.append(ValkeyServer(folder, settings=settings or DURABLE))
        return made[-1]

    yield build
    for server in made:
        server.close()


def write(server: EmbeddedServer, word: str) -> None:
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.url()) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS said (word text)")
            connection.execute("INSERT INTO said VALUES (%s)", (word,))
    else:
        assert talk(server, "RPUSH", "said", word).startswith(":")


def read(server: EmbeddedServer) -> list[str]:
    if isinstance(server, PostgresServer):
        with psycopg.connect(server.url()) as connection:
            return [word for (word,) in connection.execute("SELECT word FROM said")]
    return talk(server, "LRANGE", "said", "0", "-1").split("\r\n")[2::2]


def talk(server: EmbeddedServer, *words: str) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        connection.sendall(_encode(["AUTH", server.password]))
        assert connection.recv(100) == b"+OK\r\n"
        connection.sendall(_encode(list(words)))
        return connection.recv(10_000).decode()


def test_it_starts_answers_and_leaves_nothing(make: Make, lives: Callable[[int], bool], eventually: Eventually) -> None:
    server = make()
    with server:
        assert server.alive()
        assert str(server.port) in server.url()
        assert server.password in server.url()
        assert server.password not in repr(server)
        write(server, "hello")
        assert read(server) == ["hello"]
        assert server.start() is server  # nothing to do
    assert not server.alive()
    assert not lives(server.pid)
    assert not server.folder.exists()
    eventually(lambda: is_free(server.port), 1)
    server.close()  # again


def test_stopped_it_starts_again_on_the_same_data_and_port(make: Make) -> None:
    server = make().start()
    write(server, "before")
    port, pid = server.port, server.pid
    for mode in server.modes:
        server.stop(mode)
        assert not server.alive()
        server.start()
        assert server.port == port
        assert server.pid != pid
    assert read(server) == ["before"]
    with pytest.raises(ConfigurationError, match="must be one of"):
        server.stop("gently")


@pytest.mark.parametrize("everything", [True, False])
def test_killed_it_keeps_what_was_committed(make: Make, everything: bool) -> None:  # noqa: FBT001
    server = make().start()
    write(server, "committed")
    server.kill(everything=everything)
    assert not server.alive()
    server.start()
    assert read(server) == ["committed"]


def test_killed_by_somebody_else_it_is_noticed_and_its_folder_still_goes(make: Make, eventually: Eventually) -> None:
    server = make().start()
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not server.alive(), 2)
    server.close()
    assert not server.folder.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_for_good_it_leaves_no_shared_memory(make: Make) -> None:
    def shared_memory() -> set[str]:
        segments = Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
        return {line.split()[1] for line in segments if line.split()[4] == str(server.pid)} | {
            path.name for path in Path("/dev/shm").iterdir() if path not in others
        }

    others = set(Path("/dev/shm").iterdir())
    server = make().start()
    server.kill()
    server.close()
    assert not shared_memory()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_listens_on_loopback_only(make: Make) -> None:
    server = make().start()
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == server.port:
                listening.append(local.split(":")[0])
    assert listening == ["0100007F"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_sees_the_password(make: Make) -> None:
    server = make().start()
    shown = b""
    for name in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        for part in ("cmdline", "environ") if int(name) != os.getpid() else ():
            try:
                shown += Path("/proc", name, part).read_bytes()
            except OSError:
                continue
    assert str(server.folder).encode() in shown
    assert server.password.encode() not in shown


def test_a_wrong_password_does_not_get_in(make: Make) -> None:
    server = make().start()
    server.password = "wrong"
    assert not server.answers(server.port)


def test_its_data_are_closed_and_the_parents_stay_as_they_are(make: Make, place: Path) -> None:
    before = [parent.stat().st_mode for parent in (place, *place.parents)]
    server = make().start()
    assert [parent.stat().st_mode for parent in (place, *place.parents)] == before
    assert server.data.stat().st_mode & 0o777 == 0o700
    assert server.folder.stat().st_mode & 0o007 == 0
    assert server.log.stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken_meanwhile_costs_a_retry(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        ports = iter([squatter.getsockname()[1], free_port()])
        monkeypatch.setattr(embedded, "free_port", ports.__next__)
        server = make().start()
    assert server.alive()
    assert next(ports, None) is None


def test_a_setting_it_does_not_know_is_the_users_to_correct(make: Make) -> None:
    server = make({"no-such-setting": "1"})
    with pytest.raises(ConfigurationError, match="no-such-setting"):
        server.start()
    assert not server.folder.exists()


def test_a_folder_that_exists_is_never_taken(make: Make) -> None:
    server = make()
    assert server._given
    server._given.mkdir()
    with pytest.raises(ConfigurationError, match="must be a new one"):
        server.start()
    assert server._given.exists()
