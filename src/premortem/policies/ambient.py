"""The deadline that a call is under, wherever it stands: set by a Deadline, seen by everything that is called inside.

A context variable, so it goes along into functions, tasks and (by `contextvars.copy_context`) threads. It only ever
shrinks: a Deadline inside another one can be earlier and not later.
"""

from __future__ import annotations

from contextvars import ContextVar

from premortem.policies.timing import TIME

_until: ContextVar[float | None] = ContextVar("premortem_deadline", default=None)

get_until = _until.get
set_until = _until.set
reset_until = _until.reset


def remaining_s() -> float | None:
    """Seconds until the deadline that this call is under, 0 or less when it is over; None when there is none.

    Hand it to a client's own timeout, so that a synchronous call ends in time as well.
    """
    until = get_until()
    return None if until is None else until - TIME.monotonic()


def clamped(seconds: float) -> float:
    """`seconds`, or what is left until the deadline where that is less; never below 0."""
    left = remaining_s()
    return seconds if left is None else max(0.0, min(seconds, left))
