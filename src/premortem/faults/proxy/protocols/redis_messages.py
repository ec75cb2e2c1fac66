"""The frames of RESP2 and RESP3, commands inline and in arrays, and what is known of commands that answer oddly.

Source: the Redis serialization protocol specification (redis.io, valkey.io).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from premortem.faults.proxy.protocols.engine import LIMIT_BYTES, Reader, UnreadableError

SUBSCRIBING: Final = frozenset(("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"))
"""They are answered once for each channel."""
CONTAINERS: Final = frozenset(
    (
        *("ACL", "CLIENT", "CLUSTER", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE"),
        *("OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO"),
    )
)
"""Their first argument is a subcommand, in upper case."""
ENDLESS: Final = frozenset(("MONITOR", "SYNC", "PSYNC"))
"""What follows is no longer one answer a command."""
NULL_ARRAY: Final = frozenset(
    (
        *("BLMPOP", "BLPOP", "BRPOP", "BZMPOP", "BZPOPMAX", "BZPOPMIN", "EXEC", "LMPOP", "XREAD", "XREADGROUP"),
        "ZMPOP",
    )
)
"""Their "nothing" is a null array, in RESP2."""

_CRLF_BYTES = 2
_ONE_LINE, _BULK, _LIST = b"+-:_#,(", b"$!=", b"*~>"
_MAP, _ATTRIBUTE = b"%|"
_GLANCE_BYTES = 128  # the kinds of messages are short words
_ARGUMENTS = 3  # what naming a command can take: CLIENT REPLY OFF
_LONGEST_ARGUMENT_BYTES = 512


class _Elements(Reader["Command | Answer"]):
    """Counts the elements that are still missing; no stack is needed, whatever is nested."""

    __slots__ = ("_left", "_line", "_missing", "inline")

    def __init__(self) -> None:
        super().__init__()
        self._missing = 0
        self._left = 0  # bytes of a bulk string, with its line end
        self._line = b""
        self.inline = False

    def enter(self) -> None:
        """A new element begins."""
        self.inside, self._missing = True, 1

    def through(self, data: bytes, at: int) -> int:
        """How far the element goes, with all that it holds."""
        size = len(data)
        while True:
            if self._left:
                step = min(self._left, size - at)
                at += step
                self._left -= step
                if self._left:
                    return size
            if not self._missing:
                self.inside = self.inline = False
                return at
            end = data.find(b"\n", at) + 1
            if not end:
                self._line += data[at:]
                if len(self._line) > LIMIT_BYTES:
                    raise UnreadableError
                return size
            line, self._line = self._line + data[at:end], b""
            at = end
            self._count(line)

    def _count(self, line: bytes) -> None:
        kind = line[0]
        self._missing -= self.inline or kind != _ATTRIBUTE  # which comes before what it is an attribute of
        if self.inline or kind in _ONE_LINE:
            return
        number = integer(line[1:])
        if kind in _BULK:
            self._left = number + _CRLF_BYTES if number >= 0 else 0
        elif kind in _LIST:
            self._missing += max(number, 0)
        elif kind in (_MAP, _ATTRIBUTE):
            self._missing += 2 * max(number, 0)
        else:
            raise UnreadableError


@dataclass(frozen=True, slots=True)
class Command:
    """`words`: its upper-case name and its first arguments, as far as they are short; `size` counts all of them."""

    words: tuple[str, ...]
    size: int


@dataclass(frozen=True, slots=True)
class Answer:
    """`kind` is its first byte; `first` the first element of a list, where that matters."""

    kind: int
    first: bytes = b""


class Commands(_Elements):
    """What a client says."""

    __slots__ = ()

    def head(self, data: bytes, at: int) -> Command | None:
        """The command that begins here, as far as it names itself."""
        if data[at] != ord("*"):
            return self._inline(data, at)
        end = data.find(b"\r\n", at, at + 32)
        if end < 0:
            _check_short(data, at)
            return None
        size = integer(data[at + 1 : end])
        at, words = end + 2, []
        for _ in range(min(size, _ARGUMENTS)):
            end = data.find(b"\r\n", at, at + 32)
            if end < 0:
                _check_short(data, at)
                return None
            if data[at] != ord("$") or (length := integer(data[at + 1 : end])) < 0:
                raise UnreadableError
            if length > _LONGEST_ARGUMENT_BYTES:
                break
            at = end + 2 + length + _CRLF_BYTES
            if at > len(data):
                return None
            words.append(data[end + 2 : at - 2])
        self.enter()
        return _command(words, size)

    def _inline(self, data: bytes, at: int) -> Command | None:
        if not (data[at] in b"\r\n " or 33 <= data[at] < 127):  # noqa: PLR2004 - printable ASCII
            raise UnreadableError
        end = data.find(b"\n", at)
        if end < 0:
            return None
        words = data[at:end].split()
        self.enter()
        self.inline = True
        return _command(words[:_ARGUMENTS], len(words))


class Answers(_Elements):
    """What a server says. `listening`: the client has subscribed, and lists have to be looked into."""

    __slots__ = ("listening",)

    def __init__(self) -> None:
        super().__init__()
        self.listening = False

    def head(self, data: bytes, at: int) -> Answer | None:
        """The answer that begins here."""
        kind = data[at]
        if kind not in b"+-:_#,($!=*~>%|":
            raise UnreadableError
        first = b""
        if kind == ord(">") or (self.listening and kind == ord("*")):
            lines = data[at : at + _GLANCE_BYTES].split(b"\r\n", 3)
            if len(lines) == 1 or (len(lines) < 4 and integer(lines[0][1:]) > 0):  # noqa: PLR2004 - size, length, text, rest
                if len(data) - at < _GLANCE_BYTES:
                    return None
            elif len(lines) == 4:  # noqa: PLR2004 - as above
                first = lines[2]
        self.enter()
        return Answer(kind, first)


def integer(text: bytes) -> int:
    """A count or a length."""
    try:
        return int(text)
    except ValueError:
        raise UnreadableError from None


def bulk_strings(*words: bytes) -> bytes:
    """A command."""
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def _command(words: list[bytes], size: int) -> Command:
    texts = [word.decode("latin-1") for word in words]
    if texts:
        texts[0] = texts[0].upper()
    if len(texts) > 1 and texts[0] in CONTAINERS:
        texts[1:] = [text.upper() for text in texts[1:]]
    return Command(tuple(texts), size)


def _check_short(data: bytes, at: int) -> None:
    if len(data) - at >= 32:  # noqa: PLR2004 - no count and no length is so long
        raise UnreadableError
