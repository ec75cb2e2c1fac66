"""The settings of an ingest, from the environment: PREMORTEM_POSTGRES_URL and PREMORTEM_RETAIL_*.

Laws:
- Everything that is missing, nonsensical or misspelt is named in one error: value, rule, way out.
- There is no default credential, and no secret in a message, a repr or a log.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from premortem.errors import ConfigurationError
from premortem.systems.retail.target import URL_RULE, url_problem

PREFIX = "PREMORTEM_"
_OURS = f"{PREFIX}RETAIL_"


class RetailSettings(BaseSettings):
    """What an ingest may be told. Each field's description is the rule that its value must keep."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", hide_input_in_errors=True)

    postgres_url: SecretStr = Field(description=URL_RULE)
    retail_chunk_rows: int = Field(
        default=50_000, ge=1, le=1_000_000, description="must be a whole number of rows from 1 to 1000000"
    )
    retail_connect_timeout_s: int = Field(
        default=10, ge=2, le=300, description="must be a whole number of seconds from 2 to 300"
    )
    retail_statement_timeout_s: float = Field(
        default=60.0, ge=0.1, le=3600, allow_inf_nan=False, description="must be a number of seconds from 0.1 to 3600"
    )
    retail_attempts: int = Field(default=5, ge=1, le=100, description="must be a whole number from 1 to 100")
    retail_chunk_deadline_s: float = Field(
        default=300.0, ge=0.1, le=3600, allow_inf_nan=False, description="must be a number of seconds from 0.1 to 3600"
    )
    retail_wait_s: float = Field(
        default=3600.0, ge=0, le=86_400, allow_inf_nan=False, description="must be a number of seconds from 0 to 86400"
    )
    retail_max_dead_share: float = Field(
        default=0.5, ge=0, le=1, allow_inf_nan=False, description="must be a number from 0 to 1"
    )
    retail_price_max: float = Field(
        default=10_000.0,
        gt=0,
        le=1e9,
        allow_inf_nan=False,
        description="must be a number above 0 and up to 1000000000",
    )
    # The column is an integer of 32 bits.
    retail_quantity_max: int = Field(
        default=100_000, ge=1, le=2_000_000_000, description="must be a whole number from 1 to 2000000000"
    )

    @field_validator("postgres_url")
    @classmethod
    def _usable(cls, url: SecretStr) -> SecretStr:
        problem = url_problem(url.get_secret_value())
        if problem is not None:
            raise ValueError(problem)
        return url


def read_settings(postgres_url: str | SecretStr | None = None, **overrides: float | None) -> RetailSettings:
    """The settings of the environment, with the arguments that are not None put over them.

    `overrides` are named as the fields without `retail_`: `read_settings(url, max_dead_share=0.1)`.
    Raises `ConfigurationError` that names all that is wrong at once.
    """
    arguments: dict[str, object] = {"postgres_url": postgres_url}
    arguments |= {f"retail_{name}": value for name, value in overrides.items()}
    problems = _misspelt(arguments)
    settings = None
    try:
        # A BaseSettings reads the environment here too; what is given by argument comes first.
        settings = RetailSettings.model_validate({k: v for k, v in arguments.items() if v is not None})
    except ValidationError as error:
        problems += _problems(error)
    if settings is None or problems:
        # Raised out of the handler: pydantic's own error, which holds the values, is not chained to it.
        count = "one setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise ConfigurationError(f"{count} not usable:\n" + "\n".join(f"  {problem}" for problem in problems))
    return settings


def _problems(error: ValidationError) -> list[str]:
    said = []
    for problem in error.errors(include_url=False, include_context=False):
        field = str(problem["loc"][0])
        name = PREFIX + field.upper()
        rule = RetailSettings.model_fields[field].description
        if problem["type"] == "missing":
            said.append(f"{name} is not set: {rule}; set it, or give the URL as an argument")
        elif field == "postgres_url":
            said.append(f"{name} {problem['msg'].removeprefix('Value error, ')}")
        else:
            default = RetailSettings.model_fields[field].default
            said.append(f"{name}={problem['input']!r}: {rule}; leave it out for the default of {default:g}")
    return said


def _misspelt(arguments: Iterable[str]) -> list[str]:
    """A setting that nobody reads is worse than a wrong one: it looks as if it held."""
    known = {PREFIX + field.upper() for field in RetailSettings.model_fields}
    named = {PREFIX + name.upper() for name in arguments}
    named |= {name for name in os.environ if name.upper().startswith(_OURS)}
    said = []
    for name in sorted(named):
        if name.upper() not in known:
            near = difflib.get_close_matches(name.upper(), sorted(known), n=1)
            way_out = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
            said.append(f"{name} is no setting of this program; {way_out}")
    return said
