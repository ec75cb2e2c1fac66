"""To RabbitMQ, by aio-pika: persistent messages, published in order, acknowledged by publisher confirms.

The property `message_id` has the message's id, for the consumer's inbox. A message that no queue takes comes back
(`mandatory`) and is refused; aio-pika only returns it, and who does not look loses it. Each message is confirmed before
the next one is sent, since the broker may take a later one and refuse an earlier one: that keeps the order, and is the
slowest of the publishers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from premortem.durable.outbox.errors import SinkDownError
from premortem.durable.outbox.message import Message
from premortem.errors import ConfigurationError

if TYPE_CHECKING:
    from aio_pika.abc import AbstractExchange  # type: ignore[import-not-found, unused-ignore]


class RabbitMQ:
    """`publish` for a relay, to an exchange of yours, on a channel with publisher confirms (aio-pika's default).

    The routing key is the topic. `timeout_s` bounds the wait for each confirmation.
    """

    def __init__(self, exchange: AbstractExchange, *, timeout_s: float = 10.0) -> None:
        self._exchange, self._timeout_s = exchange, timeout_s

    async def __call__(self, batch: Sequence[Message]) -> None:
        """Publish. SinkDownError where connection or channel is gone; the broker refuses a message by DeliveryError."""
        import aio_pika  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415 - optional

        refused = aio_pika.exceptions.DeliveryError
        for message in batch:
            try:
                answer = await self._publish(aio_pika, message)
            except refused:
                raise
            except (aio_pika.exceptions.AMQPError, aio_pika.exceptions.ChannelInvalidStateError) as error:
                raise SinkDownError(f"RabbitMQ: {type(error).__name__}: {error}") from error
            if answer is None:
                raise ConfigurationError(
                    "RabbitMQ: the exchange's channel has no publisher confirms, so nobody knows what arrived; open it "
                    "with connection.channel(publisher_confirms=True), which is the default"
                )
            if hasattr(answer, "delivery"):  # the message itself, come back
                raise refused(answer, answer.delivery)

    async def _publish(self, aio_pika: Any, message: Message) -> Any:  # noqa: ANN401 - of an optional package
        key = {} if message.key is None else {"key": message.key}
        said = aio_pika.Message(
            message.payload, message_id=message.message_id, delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            timestamp=message.created_at, headers={**(message.headers or {}), **key},
        )  # fmt: skip
        return await self._exchange.publish(
            said, routing_key=message.topic, mandatory=True, timeout=self._timeout_s
        )  # fmt: skip
