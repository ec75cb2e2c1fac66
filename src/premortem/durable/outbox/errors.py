"""What the outbox may raise, by who must act, and what a publisher raises to say whose fault it is."""

from __future__ import annotations

from premortem.durable.errors import DurableError
from premortem.errors import ConfigurationError


class OutsideTransactionError(ConfigurationError, DurableError):
    """The code's owner must act: a message outside a transaction is not written together with anything."""


class MovedOutboxError(ConfigurationError, DurableError):
    """The operator must act: the outbox came from another server, whose transactions were numbered otherwise."""


class SinkDownError(DurableError):
    """A publisher's word for "the broker cannot be reached": no message is to blame, and it is tried again and again.

    OSError, and with it TimeoutError and ConnectionError, means the same.
    """


class TooManyParkedError(DurableError):
    """The operator must act: so many messages are parked that it cannot be single messages' fault."""
