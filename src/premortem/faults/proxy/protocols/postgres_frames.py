"""Where PostgreSQL's messages begin and end, and as much of each as is needed to judge it."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

from premortem.faults.proxy.protocols.engine import LIMIT_BYTES, Reader, UnreadableError
from premortem.faults.proxy.protocols.postgres_messages import (
    BIND,
    CANCEL_REQUEST,
    CLIENT_NAMES,
    CLOSE,
    ENCRYPTION_REQUEST,
    EXECUTE,
    PARSE,
    QUERY,
    READY,
    SERVER_NAMES,
    STARTUP,
)

_LENGTH = Struct(">I")
_CANCEL, _TLS, _GSS = 80877102, 80877103, 80877104
_LONGEST_STARTUP_BYTES = 10_000  # the server's own limit
_NEED_BODY = frozenset((QUERY, PARSE, BIND, EXECUTE, CLOSE))
_PAIR = Struct(">II")


class Message(NamedTuple):
    """`kind` is its letter; `body` its beginning, as far as it matters; `name` only where the letter does not tell."""

    kind: int
    body: bytes = b""
    name: str = ""


class _Frames(Reader[Message]):
    """A letter, four bytes of length that count themselves, a body."""

    __slots__ = ("left", "names", "quiet")

    def __init__(self, names: dict[int, str], quiet: frozenset[int]) -> None:
        super().__init__()
        self.left = 0
        self.names = names
        self.quiet = quiet

    def skip(self, data: bytes, at: int) -> int:
        """Past messages that nobody minds."""
        size, quiet, length_at = len(data), self.quiet, _LENGTH.unpack_from
        while at + 5 <= size and data[at] in quiet:
            length: int = length_at(data, at + 1)[0]
            if length < 4:  # noqa: PLR2004 - it counts itself
                raise UnreadableError
            at += length + 1
            if at > size:
                self.left, self.inside = at - size, True
                return size
        return at

    def head(self, data: bytes, at: int) -> Message | None:
        """The message that begins here, as far as it matters."""
        kind = data[at]
        if kind not in self.names or not kind:
            raise UnreadableError
        if at + 5 > len(data):
            return None
        length: int = _LENGTH.unpack_from(data, at + 1)[0]
        if length < 4:  # noqa: PLR2004 - it counts itself
            raise UnreadableError
        need = self._needed(kind, length) + 1
        if at + need > len(data):
            return None
        self.left, self.inside = length + 1, True
        return Message(kind, data[at + 5 : at + need])

    def _needed(self, kind: int, length: int) -> int:
        return min(length, LIMIT_BYTES - 1) if kind in _NEED_BODY else 4

    def through(self, data: bytes, at: int) -> int:
        """How far the message goes."""
        end = at + self.left
        if end > len(data):
            self.left = end - len(data)
            return len(data)
        self.left, self.inside = 0, False
        return end


class ClientMessages(_Frames):
    """What a client says. A connection that is taken up later, between two messages, has no startup any more."""

    __slots__ = ("_started",)

    def __init__(self, quiet: frozenset[int]) -> None:
        super().__init__(CLIENT_NAMES, quiet)
        self._started = False

    def skip(self, data: bytes, at: int) -> int:
        """Past messages that nobody minds."""
        return super().skip(data, at) if self._started else at

    def head(self, data: bytes, at: int) -> Message | None:
        """The message that begins here, as far as it matters."""
        if self._started or data[at]:
            self._started = True
            return super().head(data, at)
        if at + 8 > len(data):
            return None
        length, code = _PAIR.unpack_from(data, at)
        if not 8 <= length <= _LONGEST_STARTUP_BYTES or not (code >> 16 == 3 or _CANCEL <= code <= _GSS):  # noqa: PLR2004 - version 3
            raise UnreadableError
        self.left, self.inside = length, True
        self._started = code not in (_TLS, _GSS)  # those ask for encryption; the startup comes after
        return Message(STARTUP, name=_startup_name(code))


class ServerMessages(_Frames):
    """What a server says."""

    __slots__ = ("_usual",)

    def __init__(self, usual: frozenset[int]) -> None:
        super().__init__(SERVER_NAMES, usual)
        self._usual = usual

    def heed(self, *, everything: bool) -> None:
        """From the next message on: each is judged, or only those that end something."""
        self.quiet = frozenset() if everything else self._usual

    def _needed(self, kind: int, length: int) -> int:
        return length if kind == READY and length == 5 else 4  # noqa: PLR2004 - one byte of state


def _startup_name(code: int) -> str:
    if code == _CANCEL:
        return CANCEL_REQUEST
    return ENCRYPTION_REQUEST if code in (_TLS, _GSS) else CLIENT_NAMES[STARTUP]
