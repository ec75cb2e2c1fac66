"""The rules of an idempotency key as pure decisions: whose it is, what is replayed, what is not known.

| kept under the key        | the same payload             | another payload |
| ------------------------- | ---------------------------- | --------------- |
| nothing, or forgotten     | claim                        | claim           |
| in flight, lease running  | InFlightError                | mismatch        |
| in flight, lease over     | unknown, or a new claim      | mismatch        |
| done                      | replay                       | mismatch        |

Laws: only the token that claimed may keep or release; a key is remembered for its time from the last change on, in
whatever state; an outcome that is not known is never run again unless that was asked for.
Prior art: Helland, "Idempotence is not a medical condition" (2012); Leach, "Implementing Stripe-like idempotency keys
in Postgres" (2017); draft-ietf-httpapi-idempotency-key-header-07.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal

from premortem.durable.errors import InFlightError, PayloadMismatchError, UnknownOutcomeError

State = Literal["in_flight", "done"]
Unknown = Literal["stop", "again"]


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept under a key; times in seconds since 1970. `result` is there once it is done."""

    state: State
    fingerprint: str
    token: str
    owner: str
    began_s: float
    lease_s: float
    forget_s: float
    result: bytes | None = None

    def gone(self, now: datetime) -> bool:
        """Whether its time is over: then it counts for nothing."""
        return self.forget_s <= now.timestamp()


@dataclass(frozen=True, slots=True)
class Gone:
    """What a decision says for: remove what is kept."""


GONE = Gone()
Change = Record | Gone | None
"""What to write: a record in the place of the one there, nothing there any more, or None for no change."""
Decision = Callable[[Record | None, datetime], Change]


@dataclass(frozen=True, slots=True)
class Bid:
    """One call's wish to work on a key: for `in_flight_s` seconds, after which its outcome is not known."""

    key: str
    fingerprint: str
    token: str
    owner: str
    in_flight_s: float
    ttl_s: float
    on_unknown: Unknown


def claimed(bid: Bid, record: Record | None, now: datetime) -> Record:
    """The record to go by: a new one of this bid's, which is in flight, or the one there, which is done.

    Raises InFlightError, UnknownOutcomeError, PayloadMismatchError.
    """
    if record is not None and not record.gone(now) and record.token != bid.token:
        if record.fingerprint != bid.fingerprint:
            raise PayloadMismatchError(bid.key)
        if record.state == "done":
            return record
        if now.timestamp() < record.lease_s:
            until = min(record.lease_s, now.timestamp() + (record.lease_s - record.began_s))
            raise InFlightError(bid.key, record.owner, datetime.fromtimestamp(until, UTC))
        if bid.on_unknown == "stop":
            raise UnknownOutcomeError(bid.key, record.owner, datetime.fromtimestamp(record.began_s, UTC))
    at = now.timestamp()
    return Record("in_flight", bid.fingerprint, bid.token, bid.owner, at, at + bid.in_flight_s, at + bid.ttl_s)


def kept(token: str, result: bytes, ttl_s: float, record: Record | None, now: datetime) -> Record | None:
    """The record with its result; None where it is not this token's any more."""
    if record is None or record.token != token:
        return None
    return replace(record, state="done", result=result, forget_s=now.timestamp() + ttl_s)


def released(token: str, record: Record | None) -> Change:
    """Nothing is there any more, if it was this token's and is not done."""
    return GONE if record is not None and record.token == token and record.state == "in_flight" else None
