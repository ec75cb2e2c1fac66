"""A PostgreSQL server of our own: a new cluster, safe settings, thrown away or kept.

Laws: fsync stays on, since the museum proves durability; the collation is C.UTF-8, the same on every machine;
the password never stands on a command line; there is no Unix socket, so no path can be too long for one.
`dynamic_shared_memory_type=mmap` keeps its shared memory in its own folder: after a SIGKILL nothing stays in
/dev/shm. Prior art: pytest-postgresql, testing.postgresql, and the initdb template of pgtestdb.
"""

from __future__ import annotations

import importlib
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from premortem.errors import MissingRequirementError
from premortem.servers.account import Account, make_folder, plain_environment, unprivileged
from premortem.servers.binaries import Binaries, find_postgres, within_reach
from premortem.servers.databases import require_psycopg
from premortem.servers.embedded import NOTHING, EmbeddedServer
from premortem.servers.loopback import LOOPBACK
from premortem.servers.watched import Launch, Watched

USER = "premortem"
QUIT: int = getattr(signal, "SIGQUIT", signal.SIGTERM)  # so that Windows can import this and be told
INITDB_S = 60.0
BUILTIN_LOCALE_SINCE = 17
# A cluster that nobody keeps: small WAL files, since every byte of it is copied for each server of an exhibit's own.
THROW_AWAY = ("--no-sync", "--wal-segsize=1")
DEFAULTS: Mapping[str, str] = MappingProxyType(
    {
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "dynamic_shared_memory_type": "mmap",
        "max_wal_size": "1GB",  # initdb would make it 64 times the size of a WAL file
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)


@dataclass(frozen=True, slots=True)
class Template:
    """A cluster that was initialised once and never started: servers begin as copies of `data`."""

    data: Path
    binaries: Binaries
    password: str = field(repr=False)


def make_template(folder: Path, *, binaries: Binaries | None = None, password: str = "") -> Template:
    """Initialise a cluster in `folder`, which must be new and is the caller's to remove (0.3 s)."""
    account = unprivileged()
    folder = make_folder(folder, account)
    usable = within_reach(binaries or find_postgres(), account, folder / "binaries")
    password = password or secrets.token_hex(16)
    with Watched(name="initdb") as watched:  # initdb, too, ends when we do
        initialise(folder / "data", usable, account, password, watched)
    return Template(folder / "data", usable, password)


def initialise(  # noqa: PLR0913 - initdb asks that many things
    data: Path, binaries: Binaries, account: Account | None, password: str, watched: Watched, *, sync: bool = False
) -> None:
    """Run initdb. A crash in between leaves no half-made `data`: it is made beside it and renamed.

    Raises `MissingRequirementError` with the reason that initdb gives.
    """
    draft, pwfile, log = (data.with_name(f"{data.name}.{end}") for end in ("draft", "password", "initdb"))
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    pwfile.unlink(missing_ok=True)
    with os.fdopen(os.open(pwfile, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(password)
    if account:
        os.chown(draft, account.uid, account.gid)
        os.chown(pwfile, account.uid, account.gid)
    argv = [str(binaries.where / "initdb"), "-D", str(draft), "-U", USER, "-E", "UTF8", *_locale(binaries)]
    argv += ["--auth=scram-sha-256", f"--pwfile={pwfile}", *([] if sync else THROW_AWAY)]
    # SIGTERM: initdb lets the server that it runs at that moment end. Killed, that one leaves shared memory for ever.
    watched.start(Launch(tuple(argv), plain_environment(draft), log, draft, account, signal.SIGTERM))
    importlib.import_module("psycopg")  # needed next: load it while initdb works
    status = watched.wait(INITDB_S)
    pwfile.unlink()
    if status != 0:
        watched.kill()
        last = " | ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
        raise MissingRequirementError(
            "postgres", f"{argv[0]} failed with status {status} ({last})", "see the reason it gives"
        )
    log.unlink()
    draft.rename(data)


def _locale(binaries: Binaries) -> list[str]:
    if binaries.major >= BUILTIN_LOCALE_SINCE:
        return ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C"]  # C.UTF-8 exists on some machines only


class PostgresServer(EmbeddedServer):
    """An embedded PostgreSQL. With a `template` it starts from a copy of that, with its password."""

    kind = "postgres"
    modes: ClassVar[Mapping[str, int]] = MappingProxyType(
        {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": QUIT}
    )
    last_signal = QUIT

    def __init__(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        folder: Path | None = None,
        *,
        settings: Mapping[str, str] = NOTHING,
        template: Template | None = None,
        binaries: Binaries | None = None,
        port: int = 0,
        password: str = "",
        keep: bool = False,
    ) -> None:
        if template:
            binaries, password = template.binaries, template.password
        super().__init__(folder, settings=settings, binaries=binaries, port=port, password=password, keep=keep)
        self._template = template

    @property
    def origin(self) -> str:
        """What it is, in words: "embedded PostgreSQL 18.6"."""
        return f"embedded PostgreSQL {self.binaries.version}"

    def find(self) -> Binaries:
        """The first PostgreSQL of `binaries.find_postgres`."""
        require_psycopg()
        return find_postgres()

    def fill(self, watched: Watched) -> None:
        """Copy the template (`cp -Rp` keeps owner and modes), or run initdb; data that are there stay."""
        if (self.data / "PG_VERSION").exists():
            return
        if self._template:
            subprocess.run(["cp", "-Rp", str(self._template.data), str(self.data)], check=True)
        else:
            initialise(self.data, self.binaries, self.account, self.password, watched, sync=self.keep)

    def command(self, port: int) -> tuple[str, ...]:
        """`postgres` itself, settings by `-c`."""
        chosen = {**DEFAULTS, **self.settings, "port": str(port)}
        options = [part for name, value in chosen.items() for part in ("-c", f"{name}={value}")]
        return (str(self.binaries.program), "-D", str(self.data), *options)

    def answers(self, port: int) -> bool:
        """Its pid file says that this very process is ready, and it lets us in."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        if lines[:1] != [str(self.pid)] or [line.strip() for line in lines[7:8]] != ["ready"]:
            return False
        import psycopg  # noqa: PLC0415 - 100 ms that only a started server pays

        try:
            psycopg.connect(superuser_url(port, self.password, "postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def url(self, database: str = "postgres") -> str:
        """`postgresql://user:password@127.0.0.1:port/database`, for the superuser."""
        return superuser_url(self.port, self.password, database)


def superuser_url(port: int, password: str, database: str) -> str:
    """The URL of a cluster that `initialise` made."""
    return f"postgresql://{USER}:{password}@{LOOPBACK}:{port}/{database}"
