"""Checkpoints in Valkey or Redis: a head and a hash of versions for each name, changed by one script.

The script compares the head with the one that was decided on, and writes only if nobody was faster; it knows no rule.
Time is the server's. It keeps what its persistence keeps: with `appendonly yes` and `appendfsync always` every save,
otherwise the last second or more may be gone after a crash; where that is seen, `checkpoint.store_went_back` tells it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.resp import Connection, Reply, RespError, Server
from premortem.errors import ConfigurationError

_TRIES = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# KEYS: head, versions. ARGV: 1 if a head was seen, that head, the new head, version ("" for none), document, forget.
_SWAP = """
local kept = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then if kept ~= ARGV[2] then return 0 end elseif kept then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
  for _, version in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(version) <= tonumber(ARGV[6]) then redis.call('HDEL', KEYS[2], version) end
  end
end
return 1
"""


class ValkeyStore:
    """Keeps checkpoints in the server at `url` (`redis://:password@host:6379/0`) under keys that begin with `prefix`.

    No command takes longer than `timeout_s` seconds. It connects when needed, and again after a restart of the server.
    """

    transactional = False

    def __init__(self, url: str, *, prefix: str = "premortem:checkpoint:", timeout_s: float = 2.0) -> None:
        if isinstance(timeout_s, bool) or not 0.001 <= timeout_s <= 60:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"ValkeyStore.timeout_s = {timeout_s!r}: has to be from 0.001 to 60 seconds")
        self._server = Server.of(url)
        self._prefix, self._timeout_s = prefix, timeout_s
        self._connection: Connection | None = None
        self._process = os.getpid()
        self._thread = threading.RLock()

    def __repr__(self) -> str:
        where = self._server.path or f"{self._server.host}:{self._server.port}"
        return f"ValkeyStore({where}, prefix={self._prefix!r})"

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        head, documents = self._keys(name)
        with self._told():
            raw, found, time = self._asked(lambda one: one.ask(("GET", head), ("HGETALL", documents), ("TIME",)))
        pairs = found if isinstance(found, list) else []
        versions = (int(_bytes(pairs[at])) for at in range(0, len(pairs), 2))
        contents = (_bytes(pairs[at]) for at in range(1, len(pairs), 2))
        return Kept(_maybe(raw), tuple(zip(versions, contents, strict=True)), _time(time))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`."""
        head, documents = self._keys(name)
        with self._told():
            for _ in range(_TRIES):
                raw, time = self._asked(lambda one: one.ask(("GET", head), ("TIME",)))
                before = _maybe(raw)
                change = decide(before, _time(time))
                if change is None or self._swapped(head, documents, before, change):
                    return
        raise StoreDownError(repr(self), f"others change {name!r} all the time")

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        with self._told():
            self._asked(lambda one: one.ask(("DEL", *self._keys(name))))

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        with self._thread:
            self._drop()

    def _swapped(self, head: str, documents: str, before: bytes | None, change: Change) -> bool:
        """Sent once: after a lost answer nobody knows whether it took place, and the caller has to be told so."""
        version = "" if change.document is None else str(change.version)
        words = (
            *("EVAL", _SWAP, 2, head, documents), int(before is not None), before or b"", change.head,
            *(version, change.document or b"", change.forget),
        )  # fmt: skip
        return self._open().ask(words) == [1]

    def _asked(self, question: Callable[[Connection], list[Reply]]) -> list[Reply]:
        """The answer to a question that may be asked twice: a connection kept from before may have died meanwhile."""
        used = self._connection is not None and self._process == os.getpid()
        try:
            return question(self._open())
        except ConnectionError:
            if not used:
                raise
            self._drop()
            return question(self._open())

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
                raise StoreDownError(repr(self), str(error) or type(error).__name__) from error

    def _keys(self, name: str) -> tuple[str, str]:
        tag = f"{self._prefix}{{{quote(name, safe='')}}}"  # braces: a cluster keeps both in one place
        return f"{tag}:head", f"{tag}:versions"


def _bytes(reply: Reply) -> bytes:
    if isinstance(reply, bytes):
        return reply
    raise ConnectionError(f"{reply!r:.40} is not the text that was asked for")


def _maybe(reply: Reply) -> bytes | None:
    return None if reply is None else _bytes(reply)


def _time(reply: Reply) -> datetime:
    if not isinstance(reply, list) or len(reply) != 2:  # noqa: PLR2004 - seconds and microseconds
        raise ConnectionError(f"{reply!r:.40} is not a time")
    return _EPOCH + timedelta(seconds=int(_bytes(reply[0])), microseconds=int(_bytes(reply[1])))
