"""Checkpoints in Valkey or Redis: a head and a hash of versions for each name, changed by one script.

The script compares the head with the one that was decided on, and writes only if nobody was faster; it knows no rule.
Time is the server's. It keeps what its persistence keeps: with `appendonly yes` and `appendfsync always` every save,
otherwise the last second or more may be gone after a crash; where that is seen, `checkpoint.store_went_back` tells it.
"""

from __future__ import annotations

from urllib.parse import quote

from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import StoreDownError
from premortem.durable.sessions.resp import Reply
from premortem.durable.sessions.valkey import ValkeySession, items, moment, text

_TRIES = 100
# KEYS: head, versions. ARGV: 1 if a head was seen, that head, the new head, version ("" for none), document, forget.
_SWAP = """
local kept = redis.call('GET', KEYS[1])
if ARGV[1] == '1' then if kept ~= ARGV[2] then return 0 end elseif kept then return 0 end
redis.call('SET', KEYS[1], ARGV[3])
if ARGV[4] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[4], ARGV[5])
  for _, version in ipairs(redis.call('HKEYS', KEYS[2])) do
    if tonumber(version) <= tonumber(ARGV[6]) then redis.call('HDEL', KEYS[2], version) end
  end
end
return 1
"""


class ValkeyStore:
    """Keeps checkpoints in the server at `url` (`redis://:password@host:6379/0`) under keys that begin with `prefix`.

    No command takes longer than `timeout_s` seconds. It connects when needed, and again after a restart of the server.
    """

    transactional = False

    def __init__(self, url: str, *, prefix: str = "premortem:checkpoint:", timeout_s: float = 2.0) -> None:
        self._session = ValkeySession(url, prefix, owner="ValkeyStore", timeout_s=timeout_s)

    def __repr__(self) -> str:
        return repr(self._session)

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        head, documents = self._keys(name)
        raw, found, time = self._session.ask(("GET", head), ("HGETALL", documents), ("TIME",))
        pairs = [text(one) for one in items(found)]
        versions = tuple(zip(map(int, pairs[::2]), pairs[1::2], strict=True))
        return Kept(_maybe(raw), versions, moment(time))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`."""
        head, documents = self._keys(name)
        with self._session.alone():
            for _ in range(_TRIES):
                raw, time = self._session.ask(("GET", head), ("TIME",))
                before = _maybe(raw)
                change = decide(before, moment(time))
                if change is None or self._swapped(head, documents, before, change):
                    return
        raise StoreDownError(repr(self), f"others change {name!r} all the time")

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        self._session.ask(("DEL", *self._keys(name)))

    def close(self) -> None:
        """Close the connection; the next use opens another one."""
        self._session.close()

    def _swapped(self, head: str, documents: str, before: bytes | None, change: Change) -> bool:
        version = "" if change.document is None else str(change.version)
        words = (
            *("EVAL", _SWAP, 2, head, documents), int(before is not None), before or b"", change.head,
            *(version, change.document or b"", change.forget),
        )  # fmt: skip
        return self._session.tell(words) == [1]

    def _keys(self, name: str) -> tuple[str, str]:
        tag = f"{self._session.prefix}{{{quote(name, safe='')}}}"  # braces: a cluster keeps both in one place
        return f"{tag}:head", f"{tag}:versions"


def _maybe(reply: Reply) -> bytes | None:
    return None if reply is None else text(reply)
