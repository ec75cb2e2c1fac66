"""A deadline on silence: a database that stops answering becomes an error, not a wait without end.

No setting of the connection does this alone. `statement_timeout` is kept by the server, and its answer is lost
where the network is; `tcp_user_timeout` covers only what was sent and not acknowledged; keepalives are answered by
the peer's kernel, or by a proxy, while the process behind it stands still. And libpq has no read timeout.

So a thread watches from outside, and where nothing has moved for `limit_s` seconds it shuts the socket down. The
waiting call then ends at once, with the error of a lost connection. (`shutdown`, not `close`: a closed descriptor's
number could be another file's by the time libpq uses it.)
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


class Watchdog:
    """Bites `connection` when a watched block goes `limit_s` seconds without being fed."""

    def __init__(self, connection: psycopg.Connection, limit_s: float) -> None:
        # A descriptor of our own for the same socket: it stays ours until `stop`, whatever libpq does with its own.
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self.limit_s = limit_s
        self._change = threading.Condition()
        self._deadline: float | None = None
        self._stopped = False
        self.bitten = False
        self._thread = threading.Thread(target=self._watch, name="retail-watchdog", daemon=True)
        self._thread.start()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Expect progress inside this block; outside of it, nothing is expected."""
        self.feed()
        try:
            yield
        finally:
            self._set(None)

    def feed(self) -> None:
        """Something moved: the time begins anew."""
        self._set(time.monotonic() + self.limit_s)

    def stop(self) -> None:
        """End the thread and give the descriptor back."""
        with self._change:
            self._stopped = True
            self._change.notify()
        self._thread.join()
        self._socket.close()

    def _set(self, deadline: float | None) -> None:
        with self._change:
            # Moving a deadline into the future needs no wake-up: the thread looks at it when the old one has passed.
            wake = self._deadline is None
            self._deadline = deadline
            if wake:
                self._change.notify()

    def _watch(self) -> None:
        with self._change:
            while not self._stopped and not self.bitten:
                if self._deadline is None:
                    self._change.wait()
                elif (left := self._deadline - time.monotonic()) > 0:
                    self._change.wait(left)
                else:
                    self.bitten = True
                    self._bite()

    def _bite(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # the peer was faster: the waiting call ends for that reason
