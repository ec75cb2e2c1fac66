"""Policies' events as structlog entries, every field a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from premortem.events import Event
from premortem.policies.outlets import EVENTS, UNKNOWN, attached, missing

try:
    import structlog
except ImportError as error:
    raise missing("structlog") from error


def attach(logger: Any = None) -> Callable[[], None]:
    """Write to `logger` (default `structlog.get_logger("premortem.policies")`); returns what ends it."""
    out = logger if logger is not None else structlog.get_logger("premortem.policies")

    def write(event: Event) -> None:
        fields = {("event_name" if name == "event" else name): value for name, value in event.fields}
        getattr(out, EVENTS.get(event.name, UNKNOWN).severity)(event.name, **fields)

    return attached(write)
