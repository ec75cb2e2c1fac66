"""To NATS JetStream: the whole batch is sent, then all its acknowledgements are waited for.

The header Nats-Msg-Id has the message's id, so a repeat within the stream's duplicate window (two minutes by default)
is dropped by the server; the inbox takes care of later ones. JetStream acknowledges before it syncs to disk, unless
the server has `sync_interval: always`.

Order: the server takes one connection's messages in their order. Where it refuses one and takes the next (a stream
that is full for a moment), that one comes late; `one_at_a_time=True` waits for each acknowledgement, and is some five
times slower.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message

if TYPE_CHECKING:
    from nats.js import JetStreamContext  # type: ignore[import-not-found, unused-ignore]


class NatsJetStream:
    """`publish` for a relay, by a JetStream context of yours: `(await nats.connect(url)).jetstream()`.

    The subject is `prefix` and topic; a stream has to take it. `timeout_s` bounds the wait for a batch.
    """

    def __init__(
        self, stream: JetStreamContext, *, prefix: str = "", timeout_s: float = 10.0, one_at_a_time: bool = False
    ) -> None:
        self._stream, self._prefix = stream, prefix
        self._timeout_s, self._one_at_a_time = timeout_s, one_at_a_time

    async def __call__(self, batch: Sequence[Message]) -> None:
        """Publish. SinkDownError where no server or no stream answers; what JetStream refuses comes as its APIError."""
        import nats  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        down = (nats.errors.Error, nats.js.errors.NoStreamResponseError, nats.js.errors.ServiceUnavailableError)

        try:
            if self._one_at_a_time:
                for message in batch:
                    await self._stream.publish(**self._said(message), timeout=self._timeout_s)
            else:
                await self._all(batch)
        except (nats.errors.MaxPayloadError, nats.errors.BadSubjectError):
            raise  # a message's fault
        except down as error:
            raise SinkDownError(f"JetStream: {type(error).__name__}: {error}") from error

    async def _all(self, batch: Sequence[Message]) -> None:
        acknowledgements = [await self._stream.publish_async(**self._said(one)) for one in batch]
        try:
            async with asyncio.timeout(self._timeout_s):
                for acknowledgement in acknowledgements:
                    await acknowledgement
        finally:
            for acknowledgement in acknowledgements:
                if not acknowledgement.done():
                    acknowledgement.cancel()
                elif not acknowledgement.cancelled():
                    acknowledgement.exception()  # the first one is raised; nobody waits for the others

    def _said(self, message: Message) -> dict[str, Any]:
        key = {} if message.key is None else {"Key": message.key}
        headers = {**(message.headers or {}), **key, "Nats-Msg-Id": message.message_id}
        return {"subject": self._prefix + message.topic, "payload": message.payload, "headers": headers}
