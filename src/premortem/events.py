"""The one channel by which code says what happened.

Injectors say what they struck, systems how far they are, the lab what was called. Whoever wants to know
listens; nothing is built when nobody does. Listeners belong to the context they were entered in
(contextvars), so two runs in one process never hear each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Value = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: a dotted `name` ("fault.struck") and what is known about it, in order."""

    name: str
    fields: tuple[tuple[str, Value], ...] = ()

    def get(self, field: str, default: Value = None) -> Value:
        """The value of `field`, or `default` where the event does not carry it."""
        return dict(self.fields).get(field, default)


Listener = Callable[[Event], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("premortem_listeners", default=())


def emit(name: str, **fields: Value) -> None:
    """Tell every listener of this context; costs one look-up when there is none."""
    listeners = _listeners.get()
    if not listeners:
        return
    event = Event(name, tuple(fields.items()))
    for listener in listeners:
        listener(event)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear every event that this block emits."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)
