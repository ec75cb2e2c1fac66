"""A message as it is written, and as it is published: what the consumer must know to take it once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from premortem.errors import ConfigurationError

MAX_BYTES = 1_000_000
"""NATS takes a megabyte by default; what is larger belongs in a store, and its address in the message."""

Json = str | int | float | bool | None | list["Json"] | dict[str, "Json"]
Payload = bytes | Json


@dataclass(frozen=True, slots=True)
class Message:
    """A message of the outbox. `id` orders the messages of a key; `source` is the identity of the outbox.

    `created_at` is the time of the database's server, in UTC.
    """

    source: str
    id: int
    topic: str
    key: str | None
    payload: bytes
    headers: Mapping[str, str] | None
    created_at: datetime

    @property
    def message_id(self) -> str:
        """The same whenever this message comes again, and no other message's anywhere: for the inbox."""
        return f"{self.source}:{self.id}"


@dataclass(frozen=True, slots=True)
class Written:
    """A message as the tables take it: checked and encoded."""

    topic: str
    key: str | None
    payload: bytes
    headers: str | None


def written(
    topic: str, key: str | None, payload: Payload, headers: Mapping[str, str] | None, max_bytes: int
) -> Written:
    """Bytes as they are, anything else as JSON. ConfigurationError for what no relay could ever publish."""
    if not _is_text(topic) or not topic or "\0" in topic:
        raise ConfigurationError(f"topic {topic!r}: has to be a text of a character or more, without NUL")
    if key is not None and (not _is_text(key) or "\0" in key):
        raise ConfigurationError(f"key {key!r}: has to be a text without NUL, or None where no order matters")
    data = payload if isinstance(payload, bytes) else encoded("payload", payload)
    if len(data) > max_bytes:
        raise ConfigurationError(
            f"a payload of {len(data):,} bytes for {topic!r}: has to be {max_bytes:,} at most; put it where it can be "
            "fetched and send its address, or raise max_bytes as far as your broker goes"
        )
    if headers and not all(_is_text(one) for pair in headers.items() for one in pair):
        raise ConfigurationError(f"headers {headers!r}: have to be texts by name")
    return Written(topic, key, data, encoded("headers", dict(headers)).decode() if headers else None)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def encoded(what: str, value: Json | dict[str, str]) -> bytes:
    """As JSON, in UTF-8."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{what}: has to be bytes, or something that JSON can say ({error})") from None
    if what == "headers" and "\\u0000" in text:
        raise ConfigurationError(f"{what}: PostgreSQL's jsonb takes no NUL; take it out")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ConfigurationError(f"{what}: has to be text that UTF-8 can say ({error.reason})") from None
