"""A connection to PostgreSQL from a URL: what is wrong with the URL is told apart from a server that is down.

A server that is down comes back; a wrong password does not. Who waits for it, or goes on without, has a pipeline that
keeps nothing and says so only in its log. No message holds the URL, which may hold a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from premortem.durable.sessions.postgres_tables import driver
from premortem.errors import ConfigurationError

if TYPE_CHECKING:
    import psycopg

_CONNECT_S = 5
# libpq gives no SQLSTATE before a session is there.
_REFUSED = re.compile(r"FATAL:.*(authentication|password|does not exist|pg_hba)|no password supplied")


def checked(url: str, owner: str) -> str:
    """The URL itself; ConfigurationError where it is none."""
    try:
        driver().conninfo.conninfo_to_dict(url)
    except driver().Error:
        raise ConfigurationError(
            f"{owner}: the URL of PostgreSQL has to look like postgresql://user:password@host:5432/database; correct it"
        ) from None
    return url


def connected(url: str, owner: str, part: str) -> psycopg.Connection[Any]:
    """A new connection in autocommit; ConfigurationError where the server knows no such user, password or database."""
    try:
        connection: psycopg.Connection[Any] = driver().connect(
            url, autocommit=True, connect_timeout=_CONNECT_S, application_name=f"premortem {part}"
        )  # fmt: skip
    except driver().OperationalError as error:
        said = " ".join(str(error).split())
        if not _REFUSED.search(said):
            raise
        refusal = said[said.index("FATAL:") :] if "FATAL:" in said else said
    else:
        return connection
    raise ConfigurationError(
        f"{owner}: the server is there and refuses ({refusal}); check user, password and database in the URL"
    )
