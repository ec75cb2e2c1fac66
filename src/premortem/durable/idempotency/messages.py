"""A consumer of messages that come at least once: each is handled once, and none is acknowledged too early.

delivery = consumed(idempotency, message.id, message.body, handle, dead_letters=letters, attempt=message.attempt)
message.ack() if delivery.acknowledge else message.nack()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from premortem.durable.dead_letters import DeadLetters
from premortem.durable.errors import (
    DurableError,
    InFlightError,
    NotKeptError,
    PayloadMismatchError,
    StoreDownError,
    UnknownOutcomeError,
)
from premortem.durable.idempotency import Idempotency
from premortem.errors import ConfigurationError
from premortem.model.codec import Json


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came of a delivery, and whether the broker may forget the message; `why` where it is later or dead."""

    what: Literal["done", "replayed", "later", "dead"]
    why: str = ""

    @property
    def acknowledge(self) -> bool:
        """False: let the broker deliver it again."""
        return self.what != "later"


def consumed(  # noqa: PLR0913 - by keyword only, each with a default
    idempotency: Idempotency,
    key: str,
    payload: Json | bytes,
    handle: Callable[[Any], object],
    *,
    dead_letters: DeadLetters | None = None,
    attempt: int = 1,
    attempts: int = 5,
) -> Delivery:
    """Handle a message once by its `key`; never raises for what a broker can put right by delivering again.

    `attempt`: the broker's count for this delivery, from 1. From `attempts` on, and at once where another attempt
    cannot help (another payload under the same key, an outcome that is not known), it goes to `dead_letters`; without
    them it stays the broker's. What `dead_letters` raises comes out: DeadLettersFullError, TooManyDeadLettersError.
    """
    if attempts < 1 or attempt < 1:
        raise ConfigurationError(f"attempt {attempt!r} of {attempts!r}: both have to be 1 or more")
    try:
        outcome = idempotency.outcome(key, payload, lambda message: _nothing(handle(message)))
    except (InFlightError, StoreDownError) as error:
        return Delivery("later", str(error))
    except (PayloadMismatchError, UnknownOutcomeError, NotKeptError) as error:
        return _dead(dead_letters, key, payload, error, attempt)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the handler raises is this message's affair, not the consumer's end
        if attempt < attempts:
            return Delivery("later", _words(error))
        return _dead(dead_letters, key, payload, error, attempt)
    return Delivery("replayed" if outcome.replayed else "done")


def _dead(letters: DeadLetters | None, key: str, payload: Json | bytes, error: Exception, attempt: int) -> Delivery:
    if letters is None:
        return Delivery("later", _words(error))
    why = type(error).__name__.removesuffix("Error") if isinstance(error, DurableError) else type(error).__name__
    letters.add(payload, why, key=key, attempts=attempt, detail=_words(error))
    return Delivery("dead", _words(error))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _nothing(_: object) -> None:
    """A message has no answer that would have to be kept."""
