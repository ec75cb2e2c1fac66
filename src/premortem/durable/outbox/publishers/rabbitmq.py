"""To RabbitMQ, by aio-pika: persistent messages, published in order, acknowledged by publisher confirms.

The property `message_id` has the message's id, for the consumer's inbox. A message that no queue takes is refused
(`mandatory`), not dropped in silence. Each message is confirmed before the next one is sent, since the broker may take
a later one and refuse an earlier one: that keeps the order, and is the slowest of the publishers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message

if TYPE_CHECKING:
    from aio_pika.abc import AbstractExchange  # type: ignore[import-not-found, unused-ignore]


class RabbitMQ:
    """`publish` for a relay, to an exchange of yours, on a channel with publisher confirms (aio-pika's default).

    The routing key is the topic. `timeout_s` bounds the wait for each confirmation.
    """

    def __init__(self, exchange: AbstractExchange, *, timeout_s: float = 10.0) -> None:
        self._exchange, self._timeout_s = exchange, timeout_s

    async def __call__(self, batch: Sequence[Message]) -> None:
        """Publish. SinkDownError where the connection is gone; DeliveryError where the broker refuses a message."""
        import aio_pika  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        for message in batch:
            key = {} if message.key is None else {"key": message.key}
            said = aio_pika.Message(
                message.payload, message_id=message.message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
                timestamp=message.created_at, headers={**(message.headers or {}), **key},
            )  # fmt: skip
            try:
                await self._exchange.publish(said, routing_key=message.topic, mandatory=True, timeout=self._timeout_s)
            except aio_pika.exceptions.DeliveryError:
                raise
            except aio_pika.exceptions.AMQPError as error:
                raise SinkDownError(f"RabbitMQ: {type(error).__name__}: {error}") from error
