"""A database of its own for each exhibit, on our server or on the user's.

Laws: a name is validated and quoted, never pasted; nothing is dropped but by its full name; a message shows a
URL with its password masked.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from premortem.errors import ConfigurationError, MissingRequirementError

if TYPE_CHECKING:
    import psycopg

NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")  # unquoted PostgreSQL names, 63 bytes at most
CONNECT_S = 5


def require_psycopg() -> None:
    """Raise `MissingRequirementError` where psycopg is not installed."""
    if importlib.util.find_spec("psycopg") is None:
        raise MissingRequirementError("psycopg", "it is not installed", "pip install 'premortem[lab]'")


def connect(url: str) -> psycopg.Connection:
    """A connection in autocommit, which CREATE and DROP DATABASE need."""
    require_psycopg()
    import psycopg  # noqa: PLC0415 - 100 ms

    return psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_S, application_name="premortem")


def create(admin_url: str, name: str, template: str | None = None) -> str:
    """Make a database, from `template` where given (nobody may be connected to that one); returns its URL.

    Raises `ConfigurationError` for a bad name and `psycopg.Error` for what the server says.
    """
    valid_name(name)
    require_psycopg()
    from psycopg import sql  # noqa: PLC0415

    statement = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        statement += sql.SQL(" TEMPLATE {}").format(sql.Identifier(valid_name(template)))
    with connect(admin_url) as connection:
        connection.execute(statement)
    return url_with_database(admin_url, name)


def drop(admin_url: str, name: str) -> None:
    """Drop a database with all its sessions; nothing to do when there is none of that name."""
    valid_name(name)
    require_psycopg()
    from psycopg import sql  # noqa: PLC0415

    with connect(admin_url) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def valid_name(name: str) -> str:
    """The name itself. Raises `ConfigurationError` when it is not a plain PostgreSQL name."""
    if not NAME.fullmatch(name):
        raise ConfigurationError(
            f"database name {name!r}: must be 1-63 of a-z, 0-9 and _, not starting with a digit; rename it"
        )
    return name


def url_with_database(url: str, name: str) -> str:
    """The same URL for another database; credentials and parameters stay."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path="/" + quote(name, safe="")))


def masked(url: str) -> str:
    """The URL for human eyes: any password in it is ***, even where the URL is malformed."""
    hidden = re.sub(r"(://[^:/@?#]*):.*@", r"\1:***@", url)
    return re.sub(r"(password=)[^&\s]*", r"\1***", hidden)
