"""Policies' events as lines of the standard library's logging."""

from __future__ import annotations

import logging
from collections.abc import Callable

from premortem.events import Event
from premortem.policies.outlets import EVENTS, UNKNOWN, attached

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING}


def attach(logger: logging.Logger | None = None) -> Callable[[], None]:
    """Write to `logger` (default "premortem.policies"), at the level of `outlets.EVENTS`; returns what ends it.

    A line reads `policy.retry policy=orders attempt=1`; the record carries the event as `premortem_event`.
    """
    out = logger or logging.getLogger("premortem.policies")

    def write(event: Event) -> None:
        level = _LEVELS[EVENTS.get(event.name, UNKNOWN).severity]
        if out.isEnabledFor(level):
            told = " ".join(f"{name}={_shown(value)}" for name, value in event.fields)
            out.log(level, "%s %s", event.name, told, extra={"premortem_event": event})

    return attached(write)


def _shown(value: object) -> str:
    """One word, or quoted with its line ends escaped: a server's text must not forge a line of the log."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if text.isprintable() and text and not set(' ="') & set(text) else repr(text)
