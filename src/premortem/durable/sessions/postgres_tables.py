"""Tables in PostgreSQL: made once, in the schema that the user names, however many services start at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from premortem.errors import ConfigurationError, MissingRequirementError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]
    Cursor = psycopg.Cursor[tuple[Any, ...]]

SCHEMA = "premortem"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,62}")
# The number stands for all tables of ours: IF NOT EXISTS does not keep two makers from colliding in the catalogue, and
# with a number for each part, two that begin with different parts would collide over the schema.
_ALONE = "SELECT pg_advisory_xact_lock(1886545261); CREATE SCHEMA IF NOT EXISTS {schema};"
_MADE = re.compile(r"CREATE (?:TABLE|INDEX) IF NOT EXISTS (?:\{schema\}\.)?(\w+)")
_THERE = "SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(%s::text[]) AS name"


def make_tables(connection: Connection, tables: str, schema: str) -> None:
    """Make the schema and `tables`, where they are not there yet, one maker of any tables of ours at a time.

    All of it is there with the caller's commit; in autocommit, at once.
    """
    plain_cursor(connection).execute(
        statement(_ALONE + tables, schema), prepare=False
    )  # as one message: one transaction


def are_there(connection: Connection, tables: str, schema: str) -> bool:
    """Then nothing is made: who may only write need not be allowed to, and CREATE INDEX waits for all writers."""
    names = [f'"{valid_schema(schema)}".{name}' for name in _MADE.findall(tables)]
    row = plain_cursor(connection).execute(_THERE, (names,)).fetchone()
    return row is not None and bool(row[0])


def statement(text: str, schema: str) -> bytes:
    """`text` with its {schema} filled in; ConfigurationError for a name that is none."""
    return text.replace("{schema}", f'"{valid_schema(schema)}"').encode()


def valid_schema(schema: object) -> str:
    """The name, which can be quoted as it is; ConfigurationError where it cannot."""
    if not isinstance(schema, str) or not _NAME.fullmatch(schema):
        raise ConfigurationError(
            f"schema {schema!r}: has to be 1-63 of a-z, 0-9 and _, not beginning with a digit; rename it"
        )
    return schema


def driver() -> Any:  # noqa: ANN401 - a module
    """The module psycopg, or MissingRequirementError."""
    try:
        import psycopg  # noqa: PLC0415 - optional
    except ImportError:
        raise MissingRequirementError(
            "psycopg", "the package is not installed", "pip install 'premortem[retail]', which brings it"
        ) from None
    return psycopg


def plain_cursor(connection: Connection) -> Cursor:
    """One that gives tuples, whatever factories the caller's connection has."""
    psycopg = driver()
    cursor: Cursor = psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)
    return cursor
