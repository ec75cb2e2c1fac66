"""The listening socket of a port, which is closed while nobody is to connect, and opens at the same port again.

Law: a closed port is one at which the kernel refuses. To accept and then to hang up is something else.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from premortem.faults.proxy.engine import IN, Engine

_BACKLOG = 4096
_PAUSE_S = 0.05  # when descriptors have run out


class Listener:
    """At 127.0.0.1:`port`. A second socket, which never listens, keeps the number for us while it is closed."""

    def __init__(self, engine: Engine, port: int, accepted: Callable[[socket.socket], None]) -> None:
        self._engine = engine
        self._accepted = accepted
        self._socket: socket.socket | None = None
        self._reservation = _bound(port)
        self.port: int = self._reservation.getsockname()[1]

    def open(self) -> None:
        """Accept connections; nothing happens if it is open."""
        if self._socket is None:
            self._socket = _bound(self.port)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # accepted sockets inherit it
            self._socket.listen(_BACKLOG)
            self._engine.add(self._socket.fileno(), IN, self._ready)

    def close(self) -> None:
        """Refuse connections, those that were not accepted yet included; nothing happens if it is closed."""
        if self._socket is not None:
            with suppress(KeyError):  # paused
                self._engine.remove(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def give_back(self) -> None:
        """Somebody else may have the port."""
        self._reservation.close()

    def _ready(self, _event: int) -> None:
        """Accept one: if there are more, the loop says so again, which costs less than to try in vain."""
        assert self._socket is not None
        try:
            # Not accept(): it asks an enumeration for the family and another for the kind, each time.
            descriptor, _address = self._socket._accept()  # type: ignore[attr-defined]  # noqa: SLF001 - as said
        except (BlockingIOError, ConnectionError):
            return
        except OSError:
            self._pause()
            return
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
        client.setblocking(False)
        self._accepted(client)

    def _pause(self) -> None:
        """Out of descriptors: let the crowd wait in the queue, and look again."""
        paused = self._socket
        assert paused is not None
        self._engine.remove(paused.fileno())

        def resume() -> None:
            if self._socket is paused:
                self._engine.add(paused.fileno(), IN, self._ready)

        self._engine.call_at(monotonic() + _PAUSE_S, resume, sharp=False)


def _bound(port: int) -> socket.socket:
    """Bound, and not listening; both that are bound to one port agree to share it."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", port))
    except BaseException:
        bound.close()
        raise
    return bound
