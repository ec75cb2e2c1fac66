"""Idempotency keys in Valkey or Redis: one text for each, swapped by one script, forgotten by the server's own expiry.

Time is the server's. What is kept survives a crash as far as the server's persistence goes: with `appendonly yes` and
`appendfsync always` every claim, otherwise the last second or more may be gone, and with it a claim.
"""

from __future__ import annotations

import contextlib
import json
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import datetime

from premortem.durable.errors import DamagedError, StoreDownError
from premortem.durable.idempotency.rules import Decision, Gone, Record
from premortem.durable.sessions.valkey import ValkeySession, items, moment, text

_TRIES = 100
_SCANNED = 1000
# KEYS: the key. ARGV: 1 if a text was seen, that text, 1 to write, the new text, milliseconds until it is forgotten.
_SWAP = """
local kept = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then if kept ~= ARGV[2] then return 0 end elseif kept then return 0 end
if ARGV[3] == '1' then redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5]) else redis.call('DEL', KEYS[1]) end
return 1
"""


class ValkeyKeys:
    """Keeps keys in the server at `url` (`redis://:password@host:6379/0`) under names that begin with `prefix`.

    No command takes longer than `timeout_s` seconds. It connects when needed, and again after a restart of the server.
    """

    transactional = False

    def __init__(self, url: str, *, prefix: str = "premortem:idempotency:", timeout_s: float = 2.0) -> None:
        self._session = ValkeySession(url, prefix, owner="ValkeyKeys", timeout_s=timeout_s)

    def __repr__(self) -> str:
        return repr(self._session)

    def together(self) -> AbstractContextManager[None]:
        """As `IdempotencyStore.together`."""
        return contextlib.nullcontext()

    def change(self, key: str, decide: Decision) -> None:
        """As `IdempotencyStore.change`."""
        name = self._session.prefix + key
        with self._session.alone():
            for _ in range(_TRIES):
                raw, time = self._session.ask(("GET", name), ("TIME",))
                before = None if raw is None else text(raw)
                change = decide(None if before is None else _record(before, key), moment(time))
                if change is None:
                    return
                write = ("0", b"", 0) if isinstance(change, Gone) else ("1", _text(change), _left_ms(change))
                seen = ("0", b"") if before is None else ("1", before)
                if self._session.tell(("EVAL", _SWAP, 1, name, *seen, *write)) == [1]:
                    return
        raise StoreDownError(repr(self), f"others change {key!r} all the time")

    def pending(self, limit: int) -> tuple[tuple[str, Record], ...]:
        """As `IdempotencyStore.pending`; looks at all keys."""
        found: list[tuple[str, Record]] = []
        cursor: bytes = b"0"
        while True:
            [page] = self._session.ask(
                ("SCAN", cursor, "MATCH", _literal(self._session.prefix) + "*", "COUNT", _SCANNED)
            )
            step, listed = items(page)
            names = [text(name) for name in items(listed)]
            values = items(self._session.ask(("MGET", *names))[0]) if names else []
            for name, raw in zip(names, values, strict=True):
                key = name.decode(errors="surrogateescape").removeprefix(self._session.prefix)
                if raw is not None and (record := _record(text(raw), key)).state == "in_flight":
                    found.append((key, record))
            cursor = text(step)
            if cursor == b"0":
                break
        return tuple(sorted(dict(found).items(), key=lambda pair: (pair[1].began_s, pair[0]))[:limit])

    def purge(self, now: datetime | None, limit: int) -> int:  # noqa: ARG002 - as all stores have it
        """As `IdempotencyStore.purge`: nothing is left to do, the server forgets by itself."""
        return 0

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._session.close()


def _left_ms(record: Record) -> int:
    """Never less than its time, whatever clock it was made by; the rules know when it counts for nothing."""
    return max(1, round((record.forget_s - record.began_s) * 1000))


def _text(record: Record) -> bytes:
    result = None if record.result is None else record.result.decode("latin-1")
    return json.dumps(asdict(record) | {"result": result}, separators=(",", ":")).encode()


def _record(raw: bytes, key: str) -> Record:
    try:
        known = json.loads(raw)
        result = known.pop("result")
        return Record(**known, result=None if result is None else result.encode("latin-1"))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedError(
            f"the key {key!r}", f"{raw!r:.60} is no record", "find out whose it is, and take another prefix"
        ) from error


def _literal(prefix: str) -> str:
    return "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in prefix)
