"""Dead letters in Valkey or Redis: a hash of documents, an order, and counts, changed together by one script.

Time is the server's. What is kept survives a crash as far as the server's persistence goes, and all of it lies in its
memory: bound it with `most_bytes`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from urllib.parse import quote

from premortem.durable.dead_letters.stores import Decision, Row, Tally
from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.valkey import ValkeySession, items, moment, text
from premortem.errors import ConfigurationError

_TRIES = 100
# KEYS: documents, order, counts, what each letter counts as, the last number. ARGV: key, 1 if a document was seen, that
# document, the new one ("" for none), what it counts as.
_SWAP = """
local kept = redis.call('HGET', KEYS[1], ARGV[1])
if ARGV[2] == '1' then if kept ~= ARGV[3] then return 0 end elseif kept then return 0 end
if kept then
  local old = redis.call('HGET', KEYS[4], ARGV[1])
  redis.call('HINCRBY', KEYS[3], 'n' .. old, -1)
  redis.call('HINCRBY', KEYS[3], 'b' .. old, -#kept)
  if redis.call('HGET', KEYS[3], 'n' .. old) == '0' then redis.call('HDEL', KEYS[3], 'n' .. old, 'b' .. old) end
end
if ARGV[4] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1]); redis.call('HDEL', KEYS[4], ARGV[1]); redis.call('ZREM', KEYS[2], ARGV[1])
  return 1
end
if not kept then redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[5]), ARGV[1]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[4]); redis.call('HSET', KEYS[4], ARGV[1], ARGV[5])
redis.call('HINCRBY', KEYS[3], 'n' .. ARGV[5], 1); redis.call('HINCRBY', KEYS[3], 'b' .. ARGV[5], #ARGV[4])
return 1
"""
_READ_AT_ONCE = 500


class ValkeyLetters:
    """Keeps letters in the server at `url` (`redis://:password@host:6379/0`) under keys that begin with `prefix`.

    No command takes longer than `timeout_s` seconds. It connects when needed, and again after a restart of the server.
    """

    transactional = False

    def __init__(self, url: str, *, prefix: str = "premortem:dead-letters:", timeout_s: float = 2.0) -> None:
        self._session = ValkeySession(url, prefix, owner="ValkeyLetters", timeout_s=timeout_s)

    def __repr__(self) -> str:
        return repr(self._session)

    def together(self) -> AbstractContextManager[None]:
        """As `DeadLetterStore.together`."""
        return contextlib.nullcontext()

    def change(self, name: str, key: str, decide: Decision, *, skip_held: bool = False) -> None:  # noqa: ARG002 - nothing is held
        """As `DeadLetterStore.change`."""
        keys = self._keys(name)
        with self._session.alone():
            for _ in range(_TRIES):
                raw, time = self._session.ask(("HGET", keys[0], key), ("TIME",))
                seen = None if raw is None else text(raw)
                put = decide(seen, moment(time))
                if put is None or self._swapped(keys, key, seen, put.document, _counted(put.state, put.why)):
                    return
        raise StoreDownError(repr(self), f"others change {key!r} all the time")

    def page(self, name: str, *, state: str, why: str | None, after: int, limit: int) -> tuple[Row, ...]:
        """As `DeadLetterStore.page`; looks at all letters from `after` on."""
        keys, found = self._keys(name), list[Row]()
        while len(found) < limit:
            bounds = ("ZRANGEBYSCORE", keys[1], f"({after}", "+inf", "WITHSCORES", "LIMIT", 0, _READ_AT_ONCE)
            pairs = items(self._session.ask(bounds)[0])
            if not pairs:
                break
            names = [text(pair) for pair in pairs[::2]]
            numbers = [int(float(text(pair))) for pair in pairs[1::2]]
            after = numbers[-1]
            documents, kinds = map(items, self._session.ask(("HMGET", keys[0], *names), ("HMGET", keys[3], *names)))
            for number, key, document, kind in zip(numbers, names, documents, kinds, strict=True):
                if document is not None and kind is not None and _suits(text(kind), state, why):
                    found.append(Row(number, key.decode(), text(document)))
        return tuple(found[:limit])

    def newest(self, name: str) -> int:
        """As `DeadLetterStore.newest`."""
        pairs = items(self._session.ask(("ZREVRANGE", self._keys(name)[1], 0, 0, "WITHSCORES"))[0])
        return int(float(text(pairs[1]))) if pairs else 0

    def tallies(self, name: str) -> tuple[Tally, ...]:
        """As `DeadLetterStore.tallies`."""
        pairs = items(self._session.ask(("HGETALL", self._keys(name)[2]))[0])
        counts = {text(field): int(text(count)) for field, count in zip(pairs[::2], pairs[1::2], strict=True)}
        kinds = sorted(field[1:] for field in counts if field[:1] == b"n")
        tallies = ((json.loads(kind), counts[b"n" + kind], counts[b"b" + kind]) for kind in kinds)
        return tuple(Tally(why, state, letters, size) for (state, why), letters, size in tallies)

    def remove(self, name: str, rows: Sequence[Row]) -> int:
        """As `DeadLetterStore.remove`."""
        keys = self._keys(name)
        return sum(self._swapped(keys, row.key, row.document, b"", b"") for row in rows)

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._session.close()

    def _swapped(self, keys: tuple[str, ...], key: str, seen: bytes | None, new: bytes, kind: bytes) -> bool:
        before = ("0", b"") if seen is None else ("1", seen)
        return self._session.tell(("EVAL", _SWAP, len(keys), *keys, key, *before, new, kind)) == [1]

    def _keys(self, name: str) -> tuple[str, ...]:
        if not name:
            raise ConfigurationError("the name of dead letters is empty; take the pipeline's")
        tag = f"{self._session.prefix}{{{quote(name, safe='')}}}"  # braces: a cluster keeps all of them in one place
        return tuple(f"{tag}:{part}" for part in ("documents", "order", "counts", "kinds", "number"))


def _counted(state: str, why: str) -> bytes:
    return json.dumps([state, why]).encode()


def _suits(kind: bytes, state: str, why: str | None) -> bool:
    found: list[str] = json.loads(kind)
    return found[0] == state and why in (None, found[1])
