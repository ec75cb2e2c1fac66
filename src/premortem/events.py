"""The one channel by which code says what happened.

Injectors say what they struck, systems how far they are, policies what they decided. Whoever wants to know
listens; nothing is built when nobody does. A listener of a block (`listening`) belongs to the context it was entered
in, so two runs in one process never hear each other; one that is subscribed hears the whole process.
"""

from __future__ import annotations

import threading
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

_change = threading.Lock()

# Replaced, never changed in place: an event that is being told sees one tuple or the other, without a lock.
_subscribers: tuple[Listener, ...] = ()
_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("premortem_listeners", default=())


def emit(name: str, **fields: Value) -> None:
    """Tell every listener of this context and of the process; costs two look-ups when there is none."""
    listeners = _subscribers + _listeners.get()
    if not listeners:
        return
    event = Event(name, tuple(fields.items()))
    for listener in listeners:
        listener(event)


def heard() -> bool:
    """Whether anybody listens: for whoever would have to build what it tells, on a path that has to be quick."""
    return bool(_subscribers or _listeners.get())


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Hear every event that this block emits."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


def subscribe(listener: Listener) -> Callable[[], None]:
    """Hear every event of the process, from any thread, until the function that is returned is called."""
    global _subscribers  # noqa: PLW0603 - the process has one
    with _change:
        _subscribers = (*_subscribers, listener)

    def unsubscribe() -> None:
        global _subscribers  # noqa: PLW0603 - as above
        with _change:
            _subscribers = tuple(one for one in _subscribers if one is not listener)

    return unsubscribe
