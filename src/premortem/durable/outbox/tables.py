"""The outbox's tables: made once, in the schema that the user names, with as many lanes as it is to have."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any

from premortem.durable.sessions.postgres_tables import SCHEMA, make_tables, plain_cursor, statement
from premortem.errors import ConfigurationError
from premortem.policies import checks

if TYPE_CHECKING:
    import psycopg

LANES = 8
_LANES_MOST = 1024
_LANES = "SELECT lanes FROM {schema}.outbox_identity"


def create_tables(connection: psycopg.Connection[Any], *, schema: str = SCHEMA, lanes: int = LANES) -> None:
    """Make the schema and the tables where they are not there yet; committed with the caller's transaction.

    `lanes` is how many relays can be at work at once; it stays as it was made.
    """
    checks.whole("lanes", lanes, 1, _LANES_MOST)
    text = resources.files(__package__).joinpath("tables.sql").read_text(encoding="utf-8")
    make_tables(connection, text.replace("{lanes}", str(lanes)), schema)
    row = plain_cursor(connection).execute(statement(_LANES, schema)).fetchone()
    if row is not None and row[0] != lanes:
        raise ConfigurationError(
            f"lanes = {lanes}: the outbox in schema {schema!r} has {row[0]} already, and its messages lie in them; "
            f"say lanes={row[0]}, or drain it and drop its tables first"
        )
