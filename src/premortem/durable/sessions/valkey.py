"""Valkey or Redis: one connection, opened when needed and again after a restart of the server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta

from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.resp import Connection, Reply, RespError, Server
from premortem.errors import ConfigurationError

Command = tuple[str | bytes | int, ...]
# What no waiting mends: it is not the server that has to come back.
_REFUSED = ("WRONGPASS", "NOAUTH", "NOPERM", "ERR AUTH", "ERR DB index")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ValkeySession:
    """The server at `url` (`redis://:password@host:6379/0`). No question takes longer than `timeout_s` seconds."""

    def __init__(self, url: str, prefix: str, *, owner: str, timeout_s: float) -> None:
        if isinstance(timeout_s, bool) or not 0.001 <= timeout_s <= 60:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"{owner}.timeout_s = {timeout_s!r}: has to be from 0.001 to 60 seconds")
        if not prefix:
            raise ConfigurationError(
                f"{owner}.prefix = {prefix!r}: has to be a text that nobody else's keys begin with"
            )
        self.prefix = prefix
        self._server, self._owner, self._timeout_s = Server.of(url), owner, timeout_s
        self._connection: Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()

    def __repr__(self) -> str:
        where = self._server.path or f"{self._server.host}:{self._server.port}"
        return f"{self._owner}({where}, prefix={self.prefix!r})"

    def ask(self, *commands: Command) -> list[Reply]:
        """Ask what may be asked twice: a connection that was kept from before may have died meanwhile."""
        with self._told():
            used = self._connection is not None and self._process == os.getpid()
            try:
                return self._open().ask(*commands)
            except ConnectionError:
                if not used:
                    raise
                self._drop()
                return self._open().ask(*commands)

    def tell(self, *commands: Command) -> list[Reply]:
        """Sent once: after a lost answer nobody knows whether it took place, and the caller has to be told so."""
        with self._told():
            return self._open().ask(*commands)

    def alone(self) -> AbstractContextManager[object]:
        """A block that no other thread of this session falls into: they would only undo each other's swaps."""
        return self._thread

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._thread:
            self._drop()

    def _open(self) -> Connection:
        if self._process != os.getpid():  # a connection must not be shared with the process that we were forked from
            self._connection, self._process = None, os.getpid()
        if self._connection is None:
            self._connection = Connection(self._server, self._timeout_s)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None and self._process == os.getpid():
            self._connection.close()
        self._connection = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """For one thread at a time; what the socket and the server say, in our words."""
        with self._thread:
            try:
                yield
            except (OSError, RespError) as error:
                self._drop()
                if isinstance(error, RespError) and str(error).startswith(_REFUSED):
                    raise ConfigurationError(
                        f"{self!r}: the server is there and refuses ({error}); check user, password and database in "
                        "the URL, and what that user may do"
                    ) from error
                raise StoreDownError(repr(self), str(error) or type(error).__name__) from error


def text(reply: Reply) -> bytes:
    """A reply that has to be a text."""
    if isinstance(reply, bytes):
        return reply
    raise StoreDownError("a Valkey or Redis", f"{reply!r:.40} is not the text that was asked for")


def items(reply: Reply) -> list[Reply]:
    """A reply that has to be a list."""
    if isinstance(reply, list):
        return reply
    raise StoreDownError("a Valkey or Redis", f"{reply!r:.40} is not the list that was asked for")


def moment(reply: Reply) -> datetime:
    """The reply to TIME."""
    seconds, microseconds = items(reply)
    return _EPOCH + timedelta(seconds=int(text(seconds)), microseconds=int(text(microseconds)))
