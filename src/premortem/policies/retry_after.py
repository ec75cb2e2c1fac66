"""What a server asked for: Retry-After in seconds or as an HTTP date (RFC 9110, section 10.2.3).

Found on the exception itself (`retry_after_s`, `retry_after`), or in the headers of the response that it carries, as
the exceptions of requests, httpx, aiohttp and urllib do.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import cast

from premortem.ports import SystemClock

_NAMES = frozenset({"retry_after_s", "retry_after", "headers", "response"})


def seconds_of(error: BaseException) -> float | None:
    """Seconds that the server behind `error` asked to wait, 0 for a date that is past; None when it did not ask.

    Never raises: an attribute that cannot be read asks for nothing, and must not take the place of `error`.
    """
    if not _can_ask(cast("Hashable", type(error))) and _NAMES.isdisjoint(error.__dict__):
        return None
    for name in ("retry_after_s", "retry_after"):
        asked = parse(_read(error, name))
        if asked is not None:
            return asked
    look_up = _read(_read(error, "headers") or _read(_read(error, "response"), "headers"), "get")
    if not callable(look_up):
        return None
    try:
        return parse(look_up("Retry-After") or look_up("retry-after"))  # a plain dict tells the two apart
    except Exception:  # noqa: BLE001 - as `_read`
        return None


@lru_cache(maxsize=1024)
def _can_ask(kind: Hashable) -> bool:
    """Whether exceptions of this class have one of the attributes by their class: most have none, and cost nothing."""
    return any(hasattr(kind, name) for name in (*_NAMES, "__getattr__"))


def _read(thing: object, name: str) -> object:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property of a user's exception may raise anything
        return None


def parse(asked: object, now: datetime | None = None) -> float | None:
    """Seconds from a number, a timedelta, a text with a number, or an HTTP date; None for anything else."""
    if isinstance(asked, timedelta):
        return max(0.0, asked.total_seconds())
    if isinstance(asked, int | float) and not isinstance(asked, bool):
        return _finite(asked)
    if not isinstance(asked, str):
        return None
    text = asked.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():  # whole by the RFC; some servers send 0.5
        return _finite(text)
    return _until(text, now)


def _finite(asked: float | str) -> float | None:
    try:
        seconds = float(asked)
    except OverflowError:  # a whole number of 400 digits
        return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(text: str, now: datetime | None) -> float | None:
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 20 ms, and dates are rare

    try:
        until = parsedate_to_datetime(text)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max(0.0, (until - (now or SystemClock().now())).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):  # what the parser raises for what is no date
        return None
