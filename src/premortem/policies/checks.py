"""The checks of every number that a policy is told: value, rule, way out."""

from __future__ import annotations

import math

from premortem.errors import ConfigurationError


def number(  # noqa: PLR0913 - what an error has to say
    what: str, value: object, low: float, high: float, unit: str = "", *, above: bool = False
) -> float:
    """`value` as a float within `low` and `high` (above `low` with `above`), or ConfigurationError.

    A bool, a string and NaN are no numbers: "yes" for a number and a timeout of "0.5" are mistakes.
    """
    fits = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or not (low < value if above else low <= value) or not value <= high:  # type: ignore[operator]
        bound = f"above {low:g} and up to {high:g}" if above else f"from {low:g} to {high:g}"
        raise ConfigurationError(f"{what} = {value!r}: has to be a number {bound}{unit and f' {unit}'}")
    return float(value)  # type: ignore[arg-type]


def seconds(what: str, value: object, low: float = 0.001, high: float = 3600.0) -> float:
    """A duration in seconds; by default from a millisecond to an hour."""
    return number(what, value, low, high, "seconds")


def whole(what: str, value: object, low: int, high: int, unit: str = "") -> int:
    """A whole number from `low` to `high`, or ConfigurationError."""
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(
            f"{what} = {value!r}: has to be a whole number from {low} to {high}{unit and f' {unit}'}"
        )
    return value


def share(what: str, value: object) -> float:
    """A share, above 0 and up to 1."""
    return number(what, value, 0, 1, above=True)


def exceptions(what: str, value: object) -> tuple[type[Exception], ...]:
    """An exception type or a tuple of them, or ConfigurationError.

    Only subclasses of Exception: cancellation and KeyboardInterrupt are never a policy's business.
    """
    kinds = value if isinstance(value, tuple) else (value,)
    if not kinds or not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise ConfigurationError(
            f"{what} = {value!r}: has to be an exception type or a tuple of them, below Exception; "
            "write (ConnectionError, TimeoutError)"
        )
    return kinds
