"""What a checkpoint gives back, and how a value of an older schema becomes one of today's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from premortem.durable.checkpoint.rules import Document
from premortem.durable.errors import MigrationError, NewerSchemaError
from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.model.codec import Json

Migrations = Mapping[int, Callable[[Json], Json]]


@dataclass(frozen=True, slots=True)
class Saved:
    """A version of a checkpoint. `stored` is False while it is only in memory, because the store is down."""

    value: Json
    version: int
    schema: int
    owner: str
    fence: int
    saved_at: datetime
    stored: bool = True


def saved_from(document: Document, schema: int, migrations: Migrations) -> Saved:
    """The document's value as one of `schema`. NewerSchemaError, MigrationError; what a migration raises comes out."""
    name = document.name
    if document.schema > schema:
        raise NewerSchemaError(
            f"checkpoint {name!r}: version {document.version} has schema {document.schema}, and this code knows "
            f"{schema}; run the newer code, or forget() the checkpoint to begin anew"
        )
    value = document.value
    for step in range(document.schema, schema):
        if step not in migrations:
            raise MigrationError(
                f"checkpoint {name!r}: has schema {document.schema}, this code {schema}, and there is no "
                f"migrations[{step}]; write one that makes of a value of schema {step} one of {step + 1}"
            )
        value = migrations[step](value)
    if document.schema < schema:
        emit("checkpoint.migrated", checkpoint=name, schema=document.schema, to=schema)
    at = datetime.fromisoformat(document.saved_at)
    return Saved(value, document.version, schema, document.owner, document.fence, at)


def check_schema(schema: int, migrations: Migrations) -> None:
    """ConfigurationError for a migration that can never be used."""
    if not all(1 <= step < schema for step in migrations):
        raise ConfigurationError(
            f"Checkpoint.migrations for {sorted(migrations, key=str)}: has to have as keys the schemas before "
            f"{schema}, each with the step to the next"
        )
