"""To Valkey or Redis streams: a batch is one transaction (MULTI), so it is there wholly or not at all.

An entry has the fields `id` (for the consumer's inbox), `payload`, and where there are any `key` and `headers` (JSON).
The stream of a topic is `prefix` and topic.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Self

from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message
from premortem.durable.sessions.resp import Connection, RespError, Server
from premortem.policies import checks

_Command = tuple[str | bytes | int, ...]
# The server's trouble, not that of a message.
_DOWN = (
    "LOADING",
    "OOM",
    "READONLY",
    "MISCONF",
    "MASTERDOWN",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "BUSY",
    "EXECABORT",
)


class ValkeyStreams:
    """`publish` for a relay, and a context manager.

    Speaks to one server, by `redis://:password@host:6379/0` (valkey, rediss, unix as well). `most` entries are kept in
    a stream, about (None: all; then it is yours to trim them). `timeout_s` bounds each batch.
    """

    def __init__(self, url: str, *, prefix: str = "", most: int | None = None, timeout_s: float = 10.0) -> None:
        self._server = Server.of(url)
        self._prefix = prefix
        self._trim: _Command = () if most is None else ("MAXLEN", "~", checks.whole("most", most, 1, 1 << 62))
        self._timeout_s = checks.seconds("timeout_s", timeout_s)
        self._connection: Connection | None = None
        self._alone = asyncio.Lock()

    async def __call__(self, batch: Sequence[Message]) -> None:
        """Add the batch. SinkDownError or OSError for the server's trouble, RespError for what it refuses."""
        async with self._alone:
            await asyncio.to_thread(self._publish, batch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next batch opens a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _publish(self, batch: Sequence[Message]) -> None:
        try:
            if self._connection is None:
                self._connection = Connection(self._server, self._timeout_s)
            self._connection.ask(("MULTI",), *map(self._entry, batch), ("EXEC",))
        except RespError as refusal:
            self.close()
            if str(refusal).startswith(_DOWN):
                raise SinkDownError(f"Valkey at {self._server.host}:{self._server.port}: {refusal}") from refusal
            raise
        except BaseException:
            self.close()
            raise

    def _entry(self, message: Message) -> _Command:
        key = () if message.key is None else ("key", message.key)
        headers = ("headers", json.dumps(dict(message.headers))) if message.headers else ()
        fields = ("id", message.message_id, *key, "payload", message.payload, *headers)
        return ("XADD", self._prefix + message.topic, *self._trim, "*", *fields)
