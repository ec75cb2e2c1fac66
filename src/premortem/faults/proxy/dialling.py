"""The way to the server: a connection is made without waiting, at once on loopback, else when the loop says so."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from premortem.faults.proxy.engine import OUT, Engine

_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY)
_MADE = (0, errno.EISCONN)

Done = Callable[[socket.socket | None], None]


class Dialling:
    """A connection to `address` that is under way; `done` gets it, or None where it was refused."""

    __slots__ = ("_address", "_done", "_engine", "_upstream")

    def __init__(self, engine: Engine, upstream: socket.socket, address: tuple[str, int], done: Done) -> None:
        self._engine, self._upstream, self._address, self._done = engine, upstream, address, done
        engine.add(upstream.fileno(), OUT, self._ready)

    def give_up(self) -> None:
        """Wait for it no more; `done` is not called."""
        self._engine.forget(self._upstream.fileno())
        self._upstream.close()

    def _ready(self, _event: int) -> None:
        error = self._upstream.connect_ex(self._address)
        if error in _UNDER_WAY:  # the news was of another
            return
        self._engine.remove(self._upstream.fileno())
        _tell(self._upstream, error, self._done)


def dial(engine: Engine, family: int, address: tuple[str, int], done: Done) -> Dialling | None:
    """Connect; None where `done` was told already."""
    upstream = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    error = upstream.connect_ex(address)
    if error == errno.EINPROGRESS:  # on loopback it is made within the call, and the second call says so
        error = upstream.connect_ex(address)
    if error in _UNDER_WAY:
        return Dialling(engine, upstream, address, done)
    _tell(upstream, error, done)
    return None


def _tell(upstream: socket.socket, error: int, done: Done) -> None:
    if error in _MADE:
        done(upstream)
    else:
        upstream.close()
        done(None)
