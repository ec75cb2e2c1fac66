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


@pytest.fixture(scope="module", params=["postgres", "valkey"])
def running(request: pytest.FixtureRequest, template: Template) -> Iterator[EmbeddedServer]:
    """One that nobody stops: for what is only looked at."""
    server = PostgresServer(template=template) if request.param == "postgres" else ValkeyServer()
    with server:
        yield server


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


def test_it_starts_answers_stops_starts_again_and_leaves_nothing(
    make: Make, lives: Callable[[int], bool], eventually: Eventually, place: Path
) -> None:
    modes = [parent.stat().st_mode for parent in (place, *place.parents)]
    server = make()
    with server:
        assert [parent.stat().st_mode for parent in (place, *place.parents)] == modes
        assert server.data.stat().st_mode & 0o777 == 0o700
        assert server.folder.stat().st_mode & 0o007 == 0
        assert server.log.stat().st_mode & 0o077 == 0
        assert server.alive()
        assert str(server.port) in server.url()
        assert server.password in server.url()
        assert server.password not in repr(server)
        write(server, "hello")
        assert read(server) == ["hello"]
        assert server.start() is server  # nothing to do
        port = server.port
        for mode in server.modes:
            pid = server.pid
            server.stop(mode)
            assert not server.alive()
            server.start()
            assert server.port == port
            assert server.pid != pid
        assert read(server) == ["hello"]
        with pytest.raises(ConfigurationError, match="must be one of"):
            server.stop("gently")
    assert not server.alive()
    assert not lives(server.pid)
    assert not server.folder.exists()
    eventually(lambda: is_free(server.port), 1)
    server.close()  # again


def test_killed_it_keeps_what_was_committed(make: Make) -> None:
    server = make().start()
    for everything in (True, False):
        write(server, "committed")
        server.kill(everything=everything)
        assert not server.alive()
        server.start()
    assert read(server) == ["committed", "committed"]


def test_killed_by_somebody_else_it_is_noticed_and_leaves_nothing_either(make: Make, eventually: Eventually) -> None:
    def memory() -> set[Path]:
        return set(Path("/dev/shm").iterdir()) if sys.platform == "linux" else set()

    def segments() -> list[str]:
        table = Path("/proc/sysvipc/shm")
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        return [line for line in lines if line.split()[4] == str(server.pid)]  # by the process that made it

    before = memory()
    server = make().start()
    assert bool(segments()) == (server.kind == "postgres" and sys.platform == "linux")
    os.kill(server.pid, signal.SIGKILL)
    eventually(lambda: not server.alive(), 2)
    server.close()
    assert not server.folder.exists()
    assert not segments()
    left = memory() - before  # some may be of an initdb that another test runs: those go with it
    eventually(lambda: not left & memory(), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_it_listens_on_loopback_only(running: EmbeddedServer) -> None:
    server = running
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            if state == "0A" and int(local.split(":")[1], 16) == server.port:
                listening.append(local.split(":")[0])
    assert listening == ["0100007F"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_nobody_sees_the_password(running: EmbeddedServer) -> None:
    server = running
    shown = b""
    for name in filter(str.isdigit, (path.name for path in Path("/proc").iterdir())):
        for part in ("cmdline", "environ") if int(name) != os.getpid() else ():
            try:
                shown += Path("/proc", name, part).read_bytes()
            except OSError:
                continue
    assert str(server.folder).encode() in shown
    assert server.password.encode() not in shown


def test_a_wrong_password_does_not_get_in(running: EmbeddedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert running.answers(running.port)
    monkeypatch.setattr(running, "password", "wrong")
    assert not running.answers(running.port)


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


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_killed_after_its_files_it_leaves_no_shared_memory_either(template: Template, place: Path) -> None:
    server = PostgresServer(place / "server", template=template).start()
    (server.data / "postmaster.pid").unlink()  # as another guard of the same folder may do
    server.kill()
    server.close()
    assert str(server.pid) not in {line.split()[4] for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}
