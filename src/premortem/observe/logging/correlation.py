"""Which run, order or request a line belongs to: an id and a few fields that follow the work wherever it goes.

Within a thread and through asyncio's tasks they follow by themselves, for they live in a context variable. A process
that is started with `environment()` belongs to the same id until it opens one of its own. `carrying` has the rest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cache

from premortem.errors import ConfigurationError

VARIABLE = "PREMORTEM_CORRELATION"
_ID = re.compile(r"[\w.:/=+-]{1,128}")
_BYTES = 8


@dataclass(frozen=True, slots=True)
class Correlation:
    """What the lines of one piece of work have in common. `id` is empty outside of any."""

    id: str = ""
    fields: Mapping[str, object] = field(default_factory=dict)


_current: ContextVar[Correlation | None] = ContextVar("premortem_correlation", default=None)


def new_id() -> str:
    """16 hexadecimal digits from the system's randomness: two processes that were forked do not draw the same."""
    return os.urandom(_BYTES).hex()


def current() -> Correlation:
    """This context's; where none was opened, the one that the process was started with."""
    found = _current.get()
    return _of_the_process() if found is None else found


def correlation_id() -> str:
    """The id that lines carry here; empty outside of any."""
    return current().id


def bound_fields() -> Mapping[str, object]:
    """The fields that lines carry here."""
    return current().fields


@contextmanager
def correlated(id: str | None = None, /, **fields: object) -> Iterator[str]:  # noqa: A002 - it is one; by position alone
    """Lines of this block, and of what it starts, carry an id and `fields`; also a decorator.

    Without `id` the one that is open goes on, or else a new one is made. Fields are added to those that are open.
    ConfigurationError for an id that is no word of up to 128 characters: take a stranger's with `accepted`.
    """
    outer = current()
    if id is not None and not accepted(id):
        raise ConfigurationError(
            f"correlated({id[:128]!r}): has to be 1 to 128 letters, digits and . : / = + - _; "
            "write correlated(accepted(header) or new_id())"
        )
    inner = Correlation(id or outer.id or new_id(), {**outer.fields, **fields})
    token = _current.set(inner)
    try:
        yield inner.id
    finally:
        _current.reset(token)


def accepted(id: str | None) -> str:  # noqa: A002 - as above
    """An id that came from outside, or "" where it is none: a header must not write lines of its own."""
    return id if isinstance(id, str) and _ID.fullmatch(id) and id.isascii() else ""


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """`base` (default: this process's environment) for a process that is to belong to the id that is open here."""
    made = dict(os.environ if base is None else base)
    if found := correlation_id():
        made[VARIABLE] = found
    else:
        made.pop(VARIABLE, None)
    return made


def become(correlation: Correlation) -> None:
    """Belong to `correlation` from here on, in this context: for the beginning of a process."""
    _current.set(correlation)


@cache
def _of_the_process() -> Correlation:
    return Correlation(accepted(os.environ.get(VARIABLE)))
