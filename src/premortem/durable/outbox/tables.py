"""The outbox's tables: made once, in the schema that the user names; and its statements, with that name in them."""

from __future__ import annotations

import re
from importlib import resources
from typing import TYPE_CHECKING, Any

from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.policies import checks

if TYPE_CHECKING:
    import psycopg

SCHEMA = "premortem"
LANES = 8
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_LANES_MOST = 1024
# IF NOT EXISTS does not keep two sessions that do the same from colliding in the catalogue.
_ALONE = b"SELECT pg_advisory_xact_lock(hashtextextended('premortem outbox tables', 0))"
_LANES = "SELECT lanes FROM {schema}.outbox_identity"


def create_tables(connection: psycopg.Connection[Any], *, schema: str = SCHEMA, lanes: int = LANES) -> None:
    """Make the schema and the tables where they are not there yet; committed with the caller's transaction.

    `lanes` is how many relays can be at work at once; it stays as it was made.
    """
    checks.whole("lanes", lanes, 1, _LANES_MOST)
    text = resources.files(__package__).joinpath("tables.sql").read_text()
    with connection.transaction():
        cursor = plain_cursor(connection)
        cursor.execute(_ALONE)
        cursor.execute(statement(text, schema).replace(b"{lanes}", str(lanes).encode()))
        row = cursor.execute(statement(_LANES, schema)).fetchone()
    if row is not None and row[0] != lanes:
        raise ConfigurationError(
            f"lanes = {lanes}: the outbox in schema {schema!r} has {row[0]} already, and its messages lie in them; "
            f"say lanes={row[0]}, or drain it and drop its tables first"
        )


def statement(text: str, schema: str) -> bytes:
    """A statement of ours for this schema. ConfigurationError for a name that is none."""
    return text.replace("{schema}", f'"{valid_schema(schema)}"').encode()


def valid_schema(schema: object) -> str:
    """The name itself, or ConfigurationError."""
    if not isinstance(schema, str) or not _NAME.fullmatch(schema):
        raise ConfigurationError(
            f"schema {schema!r}: has to be 1-63 of a-z, 0-9 and _, not beginning with a digit; rename it"
        )
    return schema


def plain_cursor(connection: psycopg.Connection[Any]) -> psycopg.Cursor[tuple[Any, ...]]:
    """One that gives tuples, whatever factories the caller's connection has."""
    from psycopg import Cursor, rows  # noqa: PLC0415 - optional

    return Cursor(connection, row_factory=rows.tuple_row)


def driver() -> Any:  # noqa: ANN401 - a module
    """psycopg, or MissingRequirementError."""
    try:
        import psycopg  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingRequirementError(
            "psycopg", "the package is not installed", "pip install 'premortem[retail]', which brings it"
        ) from None
    return psycopg
