"""The settings of an ingest, from the environment: PREMORTEM_POSTGRES_URL and PREMORTEM_RETAIL_*.

Laws:
- Everything that is missing, nonsensical or misspelt is named in one error: value, rule, way out.
- There is no default credential, and no secret in a message, a repr or a log.
- Read by the standard library: a command of two seconds has no quarter of a second for a library of settings.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import cast

from premortem.errors import ConfigurationError
from premortem.systems.retail.secret import Secret
from premortem.systems.retail.target import URL_RULE, url_problem

PREFIX = "PREMORTEM_"
_OURS = f"{PREFIX}RETAIL_"


@dataclass(frozen=True, slots=True)
class _Bounds:
    """A number from `low` to `high`, `whole` or not; `above` where `low` itself is not allowed."""

    low: float
    high: float
    unit: str = ""
    whole: bool = False
    above: bool = False

    def rule(self) -> str:
        """In words."""
        kind = f"a {'whole ' if self.whole else ''}number{self.unit}"
        if self.above:
            return f"must be {kind} above {self.low:g} and up to {self.high:.0f}"
        return f"must be {kind} from {self.low:g} to {self.high:.12g}"

    def read(self, value: object) -> float | None:
        """`value` as a number within the bounds; None where it is none."""
        try:
            number = int(str(value)) if self.whole else float(str(value))
        except ValueError:
            return None
        if not math.isfinite(number) or not self.low <= number <= self.high or (self.above and number == self.low):
            return None
        return number


def _whole(default: int, low: int, high: int, unit: str = "") -> int:
    made: int = field(default=default, metadata={"bounds": _Bounds(low, high, unit, whole=True)})
    return made


def _real(default: float, low: float, high: float, unit: str = "", *, above: bool = False) -> float:
    made: float = field(default=default, metadata={"bounds": _Bounds(low, high, unit, above=above)})
    return made


@dataclass(frozen=True, slots=True)
class RetailSettings:
    """What an ingest may be told; each field is PREMORTEM_ and its name in capitals."""

    postgres_url: Secret
    retail_chunk_rows: int = _whole(50_000, 1, 1_000_000, " of rows")
    retail_connect_timeout_s: int = _whole(10, 2, 300, " of seconds")
    retail_statement_timeout_s: float = _real(60.0, 0.1, 3600, " of seconds")
    retail_attempts: int = _whole(5, 1, 100)
    retail_chunk_deadline_s: float = _real(300.0, 0.1, 3600, " of seconds")
    retail_wait_s: float = _real(3600.0, 0, 86_400, " of seconds")
    retail_max_dead_share: float = _real(0.5, 0, 1)
    retail_price_max: float = _real(10_000.0, 0, 1e9, above=True)
    # The column is an integer of 32 bits.
    retail_quantity_max: int = _whole(100_000, 1, 2_000_000_000)


def read_settings(postgres_url: str | Secret | None = None, **overrides: float | None) -> RetailSettings:
    """The settings of the environment, with the arguments that are not None put over them.

    `overrides` are named as the fields without `retail_`: `read_settings(url, max_dead_share=0.1)`.
    Raises `ConfigurationError` that names all that is wrong at once.
    """
    given: dict[str, object] = {f"retail_{name}": value for name, value in overrides.items()}
    given["postgres_url"] = postgres_url
    environment = {name.upper(): value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    problems = _misspelt(given, environment)
    numbers: dict[str, float] = {}
    url = _url(given.pop("postgres_url"), environment, problems)
    for one in fields(RetailSettings)[1:]:
        value = given.get(one.name)
        value = environment.get(_variable(one.name)) if value is None else value
        if value is not None:
            _number(one, value, numbers, problems)
    if url is None or problems:
        count = "one setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        raise ConfigurationError(f"{count} not usable:\n" + "\n".join(f"  {problem}" for problem in problems))
    # Whole numbers are where whole numbers have to be: `_Bounds.read` saw to that.
    return RetailSettings(url, **cast("dict[str, int]", numbers))


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _url(given: object, environment: Mapping[str, str], problems: list[str]) -> Secret | None:
    name = _variable("postgres_url")
    text = given.reveal() if isinstance(given, Secret) else environment.get(name) if given is None else str(given)
    if text is None:
        problems.append(f"{name} is not set: {URL_RULE}; set it, or give the URL as an argument")
        return None
    problem = url_problem(text)
    if problem is not None:
        problems.append(f"{name} {problem}")
        return None
    return Secret(text)


def _number(one: Field[object], value: object, numbers: dict[str, float], problems: list[str]) -> None:
    bounds: _Bounds = one.metadata["bounds"]
    number = bounds.read(value)
    if number is not None:
        numbers[one.name] = number
        return
    assert isinstance(one.default, int | float)
    problems.append(
        f"{_variable(one.name)}={value!r}: {bounds.rule()}; leave it out for the default of {one.default:g}"
    )


def _misspelt(given: Iterable[str], environment: Iterable[str]) -> list[str]:
    """A setting that nobody reads is worse than a wrong one: it looks as if it held."""
    known = {_variable(one.name) for one in fields(RetailSettings)}
    named = {_variable(name) for name in given} | {name for name in environment if name.startswith(_OURS)}
    said = []
    for name in sorted(named - known):
        near = difflib.get_close_matches(name, sorted(known), n=1)
        way_out = f"did you mean {near[0]}?" if near else f"there are: {', '.join(sorted(known))}"
        said.append(f"{name} is no setting of this program; {way_out}")
    return said
