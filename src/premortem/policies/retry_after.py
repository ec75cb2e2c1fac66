"""What a server asked for: Retry-After in seconds or as an HTTP date (RFC 9110, section 10.2.3).

Found on the exception itself (`retry_after_s`, `retry_after`), or in the headers of the response that it carries, as
the exceptions of requests, httpx, aiohttp and urllib do.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime

from premortem.ports import SystemClock


def seconds_of(error: BaseException) -> float | None:
    """Seconds that the server behind `error` asked to wait, 0 for a date that is past; None when it did not ask."""
    for name in ("retry_after_s", "retry_after"):
        asked = getattr(error, name, None)
        if asked is not None:
            return parse(asked)
    headers = getattr(error, "headers", None) or getattr(getattr(error, "response", None), "headers", None)
    look_up = getattr(headers, "get", None)
    return parse(look_up("Retry-After")) if callable(look_up) else None


def parse(asked: object, now: datetime | None = None) -> float | None:
    """Seconds from a number, a text with a number, or an HTTP date; None for anything else."""
    if isinstance(asked, int | float) and not isinstance(asked, bool):
        return max(0.0, float(asked)) if math.isfinite(asked) else None
    if not isinstance(asked, str):
        return None
    text = asked.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 20 ms, and dates are rare

    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max(0.0, (until - (now or SystemClock().now())).total_seconds())
