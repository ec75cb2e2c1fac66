"""Where the rows go: the address of a database, with its secret kept to itself.

Law: only `connect` sees the URL. What a message, a repr or a traceback may show of it is host, port, database and user.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import psycopg
from psycopg import conninfo

from premortem.errors import ConfigurationError
from premortem.systems.retail.secret import Secret

URL_RULE = "must be like postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_ENCODE = "write the characters @ : / ? # % in a password as %40 %3A %2F %3F %23 %25"
_SECRETS = ("password", "sslpassword", "oauth_client_secret")


@dataclass(frozen=True, slots=True)
class Target:
    """A database: `str()` of it is fit for a message."""

    url: Secret
    host: str
    port: str
    database: str
    user: str
    secrets: tuple[Secret, ...]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}, database {self.database!r}, user {self.user!r}"

    def scrub(self, text: str) -> str:
        """`text` on one line, with every secret of the URL struck out."""
        for secret in (self.url, *self.secrets):
            text = text.replace(secret.reveal(), "***")
        return " ".join(text.split())


def parse_target(url: str | Secret) -> Target:
    """The database that `url` names; raises `ConfigurationError` without quoting it."""
    secret = Secret(url) if isinstance(url, str) else url
    problem = url_problem(secret.reveal())
    if problem is not None:
        raise ConfigurationError(f"the URL of the database: {problem}")
    parts = {name: str(value) for name, value in conninfo.conninfo_to_dict(secret.reveal()).items()}
    secrets = tuple(Secret(parts[name]) for name in _SECRETS if parts.get(name))
    user = parts.get("user", "")
    return Target(
        secret, parts["host"], parts.get("port", "5432"), parts.get("dbname", user or "(default)"), user, secrets
    )


def url_problem(url: str) -> str | None:
    """What is wrong with `url`, in words that quote no part of it; None where nothing is."""
    if not url.strip():
        return f"is empty: {URL_RULE}"
    if not url.startswith(("postgresql://", "postgres://")):
        return f"does not begin with postgresql://: {URL_RULE}"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return f"has no number as its port: {URL_RULE}; {_ENCODE}"
    # An unescaped character of a password moves the rest of it into the host or the database's name, and from
    # there into error messages.
    if "@" in parts.path + parts.query + parts.fragment or parts.netloc.count("@") > 1:
        return f"has an @ where none can be: {URL_RULE}; {_ENCODE}"
    try:
        known = conninfo.conninfo_to_dict(url)
    except (psycopg.Error, ValueError):  # its text quotes the URL
        return f"cannot be read: {URL_RULE}; {_ENCODE}"
    return None if known.get("host") else f"names no host: {URL_RULE}"
