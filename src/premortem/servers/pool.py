"""The servers of one run: started at the first request, once, and gone with the run.

Laws: a URL in the environment comes before an embedded server and is checked before it is used; a failure is
found out once and repeated in the same words to all who ask; a server that an exhibit means to kill is one of
its own, never the shared one and never the user's.
"""

from __future__ import annotations

import itertools
import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import unquote, urlsplit

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.servers import databases
from premortem.servers.account import make_folder, make_temporary_folder, unprivileged
from premortem.servers.embedded import NOTHING
from premortem.servers.postgres import PostgresServer, Template, make_template
from premortem.servers.run_databases import RunDatabases
from premortem.servers.valkey import ValkeyServer, ping
from premortem.servers.watched import Watched, guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from premortem.servers.embedded import EmbeddedServer

_S = TypeVar("_S", bound="EmbeddedServer")
POSTGRES_URL, VALKEY_URL = "PREMORTEM_POSTGRES_URL", "PREMORTEM_VALKEY_URL"
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server is: `admin_url` with its password, `origin` in words ("embedded PostgreSQL 18.6")."""

    admin_url: str = field(repr=False)
    origin: str


class Servers:
    """The lazily started set of a run. A context manager, safe to use from many threads.

    `folder` is an existing folder below which they may live (None: one in the temporary folder). As root it must
    be open to the account that servers run as, which a folder from `tempfile.mkdtemp` is not: prefer None.
    """

    def __init__(self, folder: Path | None = None, *, environ: Mapping[str, str] = os.environ) -> None:
        self._given = folder
        self._environ = environ
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._places: dict[str, Place | ConfigurationError | MissingRequirementError] = {}
        self._servers: list[EmbeddedServer] = []
        self._guard: Watched | None = None
        self._folder = Path()
        self._template: Template | None = None
        self._databases: RunDatabases | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def postgres(self) -> Place:
        """The run's PostgreSQL. Raises `MissingRequirementError`, or `ConfigurationError` for a URL that is wrong."""
        return self._once("postgres", lambda: self._named(POSTGRES_URL, check_postgres) or self._embedded_postgres())

    def valkey(self) -> Place:
        """The run's Valkey; raises as `postgres` does."""
        return self._once("valkey", lambda: self._named(VALKEY_URL, check_valkey) or self._embedded_valkey())

    def databases(self) -> RunDatabases:
        """This run's databases on its PostgreSQL; the first request sweeps what killed runs have left."""
        with self._lock:
            if self._databases is None:
                self._databases = RunDatabases(self.postgres().admin_url)
            return self._databases

    def template(self) -> Template:
        """The cluster that every PostgreSQL of this run is copied from, made at the first request."""
        with self._lock:
            if self._template is None:
                self._template = make_template(self._next("template"))
            return self._template

    def new_postgres(self, settings: Mapping[str, str] = NOTHING) -> PostgresServer:
        """A started PostgreSQL for the caller alone, to kill as it likes; `close()` it, or the run does."""
        template = self.template()
        with self._lock:
            server = PostgresServer(self._next("postgres"), settings=settings, template=template)
        return self._started(server)

    def new_valkey(self, settings: Mapping[str, str] = NOTHING) -> ValkeyServer:
        """A started Valkey for the caller alone; as `new_postgres`."""
        with self._lock:
            server = ValkeyServer(self._next("valkey"), settings=settings)
        return self._started(server)

    def close(self) -> None:
        """Drop the run's databases, stop its servers, remove their folder. Can be called again."""
        with self._lock, ExitStack() as stack:  # last in, first out, and one failure does not keep the others
            if self._guard:
                stack.callback(self._guard.close)
            for server in self._servers:
                stack.callback(server.close)
            if self._databases:
                stack.callback(self._databases.close)
            self._databases = self._guard = self._template = None
            self._servers.clear()
            self._places.clear()

    def _once(self, kind: str, make: Callable[[], Place]) -> Place:
        with self._lock:
            if kind not in self._places:
                try:
                    self._places[kind] = make()
                except (ConfigurationError, MissingRequirementError) as error:
                    self._places[kind] = error
            place = self._places[kind]
        if isinstance(place, Place):
            return place
        raise place.with_traceback(None)

    def _named(self, variable: str, check: Callable[[str, str], None]) -> Place | None:
        url = self._environ.get(variable)
        if not url:
            return None
        check(variable, url)
        return Place(url, variable)

    def _embedded_postgres(self) -> Place:
        server = self._started(PostgresServer(self._next("postgres")))  # a template pays from the second one on
        return Place(server.url(), server.origin)

    def _embedded_valkey(self) -> Place:
        server = self.new_valkey()
        return Place(server.url(), server.origin)

    def _next(self, name: str) -> Path:
        """A folder that is still to be made, in the guarded folder of all."""
        if self._guard is None:
            account = unprivileged()
            if self._given is None:
                self._folder = make_temporary_folder(account)
            else:
                self._folder = make_folder(self._given / "servers", account)
            self._guard = guarded([self._folder], "the run's servers")
        return self._folder / f"{name}-{next(self._numbers)}"

    def _started(self, server: _S) -> _S:
        server.start()
        with self._lock:
            self._servers.append(server)
        return server


def check_postgres(variable: str, url: str) -> None:
    """Raise `ConfigurationError` unless `url` is a PostgreSQL URL that answers within 5 s."""
    _check_form(variable, url, ("postgresql", "postgres"), "postgresql://user:password@host:5432/database")
    databases.require_psycopg()
    import psycopg  # noqa: PLC0415

    try:
        databases.connect(url).close()
    except psycopg.Error as error:
        raise _no_answer(variable, url, str(error)) from None


def check_valkey(variable: str, url: str) -> None:
    """Raise `ConfigurationError` unless `url` is a Valkey or Redis URL that answers within 5 s."""
    _check_form(variable, url, ("redis", "valkey"), "redis://:password@host:6379/0")
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or 6379)
    try:
        said = ping(address, unquote(parts.password or ""), user=unquote(parts.username or ""), timeout_s=ANSWER_S)
    except OSError as error:
        said = str(error)
    if said:
        raise _no_answer(variable, url, said)


def _check_form(variable: str, url: str, schemes: tuple[str, ...], example: str) -> None:
    try:
        parts = urlsplit(url)
        formed = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        formed = False
    if not formed:
        raise ConfigurationError(
            f"{variable}={databases.masked(url)}: must look like {example}; correct it, or unset it "
            "for an embedded server"
        )


def _no_answer(variable: str, url: str, reason: str) -> ConfigurationError:
    password = _password(url)
    reason = " ".join(reason.split())
    if password:
        reason = reason.replace(password, "***")
    return ConfigurationError(
        f"{variable}={databases.masked(url)}: must answer within {ANSWER_S:g} s ({reason}); start that server, "
        "correct the URL, or unset it for an embedded server"
    )


def _password(url: str) -> str:
    return unquote(urlsplit(url).password or "")
