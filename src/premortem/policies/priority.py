"""How much a call matters: a context variable, so that it goes along into everything that is called.

The four levels are those of the SRE book, chapter 21 "Handling Overload": `critical` is what a user waits for and the
default, `critical_plus` what must not fail, `sheddable_plus` batch work that will be retried, `sheddable` what may be
partly missing for hours.

    with priority("sheddable"):
        refresh_thumbnails()
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, cast

from premortem.errors import ConfigurationError

Priority = Literal["sheddable", "sheddable_plus", "critical", "critical_plus"]
PRIORITIES: tuple[Priority, ...] = ("sheddable", "sheddable_plus", "critical", "critical_plus")
_CRITICAL = 2

_level: ContextVar[int] = ContextVar("premortem_priority", default=_CRITICAL)

get_level = _level.get
"""The priority of this context as an index into PRIORITIES."""


def current_priority() -> Priority:
    """The priority that this call runs under."""
    return PRIORITIES[get_level()]


@contextmanager
def priority(name: Priority) -> Iterator[None]:
    """Run a block (or, as a decorator, a function) under a priority."""
    if name not in PRIORITIES:
        raise ConfigurationError(f"priority {cast('object', name)!r}: has to be one of {', '.join(PRIORITIES)}")
    token = _level.set(PRIORITIES.index(name))
    try:
        yield
    finally:
        _level.reset(token)
