"""What DeadLetters may be told."""

from __future__ import annotations

import os

from premortem.errors import ConfigurationError

_MOST_KEY, _MOST_WHY, _MOST_NAME = 512, 200, 100


def check(  # noqa: PLR0913 - all that it is told
    store: object,
    *,
    name: str,
    most: object,
    most_bytes: object,
    when_full: str,
    share: float | None,
    least: object,
    lease_s: float,
) -> None:
    """ConfigurationError for what makes no sense."""
    if isinstance(store, str | os.PathLike):
        raise ConfigurationError(f"DeadLetters({store!r}): has to be a store; write SqliteLetters({store!r})")
    _text("DeadLetters.name", name, _MOST_NAME)
    for what, value, low in (("most", most, 1), ("most_bytes", most_bytes, 4096), ("least", least, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= 1 << 50:
            raise ConfigurationError(f"DeadLetters.{what} = {value!r}: has to be a whole number from {low} on")
    if when_full not in ("stop", "drop oldest"):
        raise ConfigurationError(f'DeadLetters.when_full = {when_full!r}: has to be "stop" or "drop oldest"')
    if share is not None and (isinstance(share, bool) or not 0 <= share < 1):
        raise ConfigurationError(
            f"DeadLetters.share = {share!r}: has to be a fraction from 0 to below 1, or None; 0.05 is one in twenty"
        )
    if isinstance(lease_s, bool) or not 0.001 <= lease_s <= 7 * 86_400:  # noqa: PLR2004 - said in words
        raise ConfigurationError(f"DeadLetters.lease_s = {lease_s!r}: has to be 0.001 to {7 * 86_400} seconds")


def check_letter(key: str, why: str, attempts: object) -> None:
    """ConfigurationError for what can be no letter."""
    _text("dead letter: key", key, _MOST_KEY)
    _text("dead letter: why", why, _MOST_WHY)
    if not isinstance(attempts, int) or isinstance(attempts, bool) or attempts < 0:
        raise ConfigurationError(f"dead letter {key!r}: attempts = {attempts!r}; has to be 0 or more")


def _text(what: str, value: object, most: int) -> None:
    if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
        raise ConfigurationError(f"{what} {value!r:.60}: has to be 1 to {most} printable characters")
