"""A PostgreSQL whose data stay in `.premortem/postgres/`: `premortem db start|stop|url|status`.

Laws:
- Every change of state happens under a lock file (flock), so two commands cannot start it twice.
- What runs is read from PostgreSQL's own postmaster.pid and believed only of a process that works in our data
  folder: a stale file, or a process id used again, is never taken for our server and never signalled.
- The password lies in a 0600 file that was written before the cluster was made, so there is none without it.
"""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from premortem.errors import ConfigurationError, FaultError, MissingRequirementError
from premortem.servers.account import plain_environment
from premortem.servers.embedded import PORT_TRIES
from premortem.servers.kept_state import (
    Access,
    Status,
    forget_stale,
    home_of,
    lock,
    locked,
    look,
    read_access,
    until,
    works_in,
    write_access,
)
from premortem.servers.loopback import free_port, is_free, taken
from premortem.servers.postgres import PostgresServer, superuser_url

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path()
START_S, STOP_S = 60, 30.0


def start(project: Path = HERE) -> Status:
    """Start the kept server of a folder, to stay after us; nothing to do when it runs.

    Raises `ConfigurationError` (the folder) or `MissingRequirementError` (no PostgreSQL, or it does not start).
    """
    home = home_of(project)
    with locked(home / "postgres.lock"):
        found = look(home)
        if found.running:
            return found
        forget_stale(home)
        server = _server(home)
        try:
            server.prepare()
            _detach(server, home)
        finally:
            server.close()
        return look(home)


def stop(project: Path = HERE) -> bool:
    """Stop it in order (mode fast); False when it did not run. Raises `FaultError` when it does not end in 30 s."""
    home = home_of(project)
    with locked(home / "postgres.lock"):
        found = look(home)
        if not found.running:
            return False
        os.kill(found.pid, signal.SIGINT)
        if not until(lambda: not works_in(found.pid, found.data), STOP_S):
            raise FaultError(f"process {found.pid} did not stop within {STOP_S:g} s; see {found.data.parent}/log")
        return True


def status(project: Path = HERE) -> Status:
    """What runs now."""
    return look(project.absolute() / ".premortem")


def url(project: Path = HERE, database: str = "postgres") -> str:
    """The URL of the kept server, running or not. Raises `ConfigurationError` when it was never started."""
    home = project.absolute() / ".premortem"
    access = read_access(home)
    if access is None:
        raise ConfigurationError(f"{home}: holds no PostgreSQL yet; run `premortem db start` first")
    return superuser_url(look(home).port or access.port, access.password, database)


@contextmanager
def running(project: Path = HERE, database: str = "postgres") -> Iterator[str]:
    """The kept server for the time of a command; yields its URL.

    One that runs already is used and left alone. Else it is started, dies with us, and is stopped at the end,
    which waits for other commands that have come to use it meanwhile.
    """
    home = home_of(project)
    with locked(home / "postgres.users", shared=True) as users:
        ours: PostgresServer | None = None
        with locked(home / "postgres.lock"):
            if not look(home).running:
                ours = _start_watched(home)
        try:
            yield url(project, database)
        finally:
            if ours:
                lock(users, shared=False)
                with locked(home / "postgres.lock"):
                    ours.close()


def _start_watched(home: Path) -> PostgresServer:
    forget_stale(home)
    server = _server(home)
    if server.port and not is_free(server.port):
        server.port = 0
    server.start()
    write_access(home, Access(server.port, server.password))
    return server


def _server(home: Path) -> PostgresServer:
    access = read_access(home)
    if access is None:
        access = Access(0, secrets.token_hex(16))
        write_access(home, access)
    return PostgresServer(home / "postgres", port=access.port, password=access.password, keep=True)


def _detach(server: PostgresServer, home: Path) -> None:
    """`pg_ctl start`: the server becomes a session of its own and stays."""
    account = server.account
    server.log.touch(mode=0o600)
    if account:
        os.chown(server.log, account.uid, account.gid)
    port, said = server.port, ""
    for _ in range(PORT_TRIES):
        port = port or free_port()
        before = server.log.stat().st_size
        program, _, data, *options = server.command(port)
        argv = [str(Path(program).with_name("pg_ctl")), "start", "-w", "-t", str(START_S), "-D", data]
        done = subprocess.run(
            [*argv, "-l", str(server.log), "-o", shlex.join(options)], cwd="/", check=False,
            env=plain_environment(server.data), start_new_session=True, umask=0o077,
            user=account.uid if account else None, group=account.gid if account else None,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode == 0:
            write_access(home, Access(port, server.password))
            return
        said = server.log.read_bytes()[before:].decode(errors="replace")
        if not taken(said):
            break
        port = 0
    last = " | ".join(said.strip().splitlines()[-4:])
    raise MissingRequirementError("postgres", f"it did not start ({last})", f"see {server.log}")
