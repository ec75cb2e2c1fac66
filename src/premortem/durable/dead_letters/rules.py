"""The rules of a dead letter as pure decisions: how often it died, who replays it, what came of that.

    dead -> replaying -> replayed           replaying -> dead, when the replay failed, or its lease is over
    dead -> discarded                       replayed, discarded -> dead, when the same thing dies again

Laws: a letter is one for its key, however often it dies; what became of it stays in its history, of which the newest
entries are kept; one replay at a time has it.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from premortem.durable.errors import DamagedError
from premortem.errors import ConfigurationError
from premortem.model.codec import Json

State = Literal["dead", "replaying", "replayed", "discarded"]
CLOSED: tuple[State, ...] = ("replayed", "discarded")
MOST_HISTORY = 20
MOST_DETAIL = 2000
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Entry:
    """What happened to a letter: "died", "replayed", "replay failed", "discarded"; `at` in UTC."""

    at: datetime
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What could not be done: `payload`, `why` (a short reason to count by), `detail` in words.

    `attempts`: how often its last death had been tried before; `times`: how often it has died. Times in UTC.
    """

    key: str
    why: str
    detail: str
    payload: Json | bytes
    attempts: int
    times: int
    first_at: datetime
    last_at: datetime
    state: State = "dead"
    history: tuple[Entry, ...] = ()
    token: str = ""
    lease_until: datetime = _EPOCH


def died(before: DeadLetter | None, letter: DeadLetter) -> DeadLetter:
    """`letter`, which has just died, with the history of the one that is kept under its key."""
    entry = Entry(letter.last_at, "died", f"{letter.why}: {letter.detail}"[:MOST_DETAIL])
    if before is None:
        return replace(letter, history=(entry,))
    return replace(
        letter, times=before.times + 1, first_at=before.first_at, history=_history(before, entry)
    )  # fmt: skip


def taken(letter: DeadLetter, token: str, now: datetime, lease_s: float) -> DeadLetter | None:
    """The letter as this replay has it; None where another one has it, or it is closed."""
    over = letter.state == "replaying" and letter.lease_until <= now
    if letter.state != "dead" and not over:
        return None
    return replace(letter, state="replaying", token=token, lease_until=now + timedelta(seconds=lease_s))


def replayed(letter: DeadLetter, token: str, now: datetime) -> DeadLetter | None:
    """The letter, done; None where it is not this replay's any more."""
    return _closed(letter, "replayed", Entry(now, "replayed", "")) if _has(letter, token) else None


def failed(letter: DeadLetter, token: str, now: datetime, detail: str) -> DeadLetter | None:
    """The letter, dead as before; None where it is not this replay's any more."""
    if not _has(letter, token) and letter.state != "dead":
        return None
    entry = Entry(now, "replay failed", detail[:MOST_DETAIL])
    return replace(
        letter, state="dead", token="", attempts=letter.attempts + 1, last_at=now, history=_history(letter, entry)
    )  # fmt: skip


def discarded(letter: DeadLetter, now: datetime, detail: str) -> DeadLetter | None:
    """The letter, given up; None where it is closed already, or being replayed."""
    if letter.state in CLOSED or (letter.state == "replaying" and now < letter.lease_until):
        return None
    return _closed(letter, "discarded", Entry(now, "discarded", detail[:MOST_DETAIL]))


def document(letter: DeadLetter) -> bytes:
    """The letter as it is written."""
    payload: Json = letter.payload if not isinstance(letter.payload, bytes) else None
    known: dict[str, Json] = {
        "key": letter.key, "why": letter.why, "detail": letter.detail, "payload": payload, "attempts": letter.attempts,
        "times": letter.times, "first_at": letter.first_at.isoformat(), "last_at": letter.last_at.isoformat(),
        "state": letter.state,
        "history": [[entry.at.isoformat(), entry.what, entry.detail] for entry in letter.history],
        "token": letter.token, "lease_until": letter.lease_until.isoformat(),
    }  # fmt: skip
    if isinstance(letter.payload, bytes):
        known["base64"] = base64.b64encode(letter.payload).decode()
    try:
        return json.dumps(known, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"the payload of dead letter {letter.key!r}: {error}; hand over what JSON can hold, or bytes"
        ) from error


def letter_from(raw: bytes, where: str) -> DeadLetter:
    """What `document` wrote, or DamagedError that names `where`."""
    try:
        known = json.loads(raw)
        encoded = known.pop("base64", None)
        if encoded is not None:
            known["payload"] = base64.b64decode(encoded)
        for name in ("first_at", "last_at", "lease_until"):
            known[name] = datetime.fromisoformat(known[name])
        known["history"] = tuple(
            Entry(datetime.fromisoformat(at), what, detail) for at, what, detail in known["history"]
        )
        return DeadLetter(**known)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(where, f"{raw!r:.60} is no dead letter", "restore it from a copy, or remove it") from error


def _has(letter: DeadLetter, token: str) -> bool:
    return letter.state == "replaying" and letter.token == token


def _closed(letter: DeadLetter, state: State, entry: Entry) -> DeadLetter:
    return replace(letter, state=state, token="", history=_history(letter, entry))


def _history(before: DeadLetter, entry: Entry) -> tuple[Entry, ...]:
    return (*before.history, entry)[-MOST_HISTORY:]
