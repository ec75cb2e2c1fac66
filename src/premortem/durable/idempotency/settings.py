"""What an Idempotency may be told."""

from __future__ import annotations

import os

from premortem.errors import ConfigurationError

MOST_KEY = 512
_YEARS_S = 10 * 366 * 86_400


def check(  # noqa: PLR0913 - all that it is told
    store: object,
    *,
    ttl_s: float,
    in_flight_s: float,
    wait_s: float,
    on_unknown: str,
    nothing_done: object,
    most_bytes: object,
) -> None:
    """ConfigurationError for what makes no sense."""
    if isinstance(store, str | os.PathLike):
        raise ConfigurationError(f"Idempotency({store!r}): has to be a store; write SqliteKeys({store!r})")
    times: tuple[tuple[str, object, float, float], ...] = (
        ("ttl_s", ttl_s, 0.001, _YEARS_S), ("in_flight_s", in_flight_s, 0.001, 7 * 86_400), ("wait_s", wait_s, 0, 3600),
    )  # fmt: skip
    for name, value, low, high in times:
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigurationError(f"Idempotency.{name} = {value!r}: has to be from {low} to {high} seconds")
    if in_flight_s > ttl_s:
        raise ConfigurationError(
            f"Idempotency.in_flight_s = {in_flight_s!r}: has to be {ttl_s!r} at most, or a key would be forgotten "
            "while its call still runs; make ttl_s longer"
        )
    if on_unknown not in ("stop", "again"):
        raise ConfigurationError(f'Idempotency.on_unknown = {on_unknown!r}: has to be "stop" or "again"')
    kinds = nothing_done if isinstance(nothing_done, tuple) else (nothing_done,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ConfigurationError(
            f"Idempotency.nothing_done = {nothing_done!r}: has to be types of exceptions; () for none"
        )
    if not isinstance(most_bytes, int) or isinstance(most_bytes, bool) or not 1 <= most_bytes <= 64 << 20:
        raise ConfigurationError(f"Idempotency.most_bytes = {most_bytes!r}: has to be a whole number up to {64 << 20}")


def check_key(key: object) -> None:
    """ConfigurationError for what can be no key."""
    if not isinstance(key, str) or not 0 < len(key) <= MOST_KEY or not key.isprintable():
        raise ConfigurationError(
            f"idempotency key {key!r:.60}: has to be a text of 1 to {MOST_KEY} printable characters, from whoever "
            "wants the thing done"
        )
