"""Where HTTP/1.1 messages begin and end: heads, bodies by length, by chunks, up to the end of the connection, or none.

Source: RFC 9112, "HTTP/1.1", sections 2, 6 and 7.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from premortem.faults.proxy.protocols.engine import Reader, UnreadableError

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_REQUEST = re.compile(rb"([A-Za-z!#$%&'*+.^_`|~-]+) (\S+) HTTP/1\.[01]\r?")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?")
_METHOD_START = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_BLANK_LINES = b"\r\n"
_LONGEST_LINE_BYTES = 8192
_VERSION = b"HTTP/1."
SWITCHING: Final = 101
NO_BODY: Final = frozenset((204, 304))


class Body(Enum):
    """How the end of a body is known."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"
    UNTIL_END = "until end"


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a request or, with a `status`, of a response; `size` in bytes with the empty line."""

    raw: bytes
    fields: dict[str, str]
    body: Body
    length: int = 0
    method: str = ""
    target: str = ""
    status: int = 0

    @property
    def size(self) -> int:
        """Bytes of the head."""
        return len(self.raw)

    @property
    def is_interim(self) -> bool:
        """100 Continue and the like: the answer is still to come."""
        return 100 <= self.status < 200 and self.status != SWITCHING  # noqa: PLR2004 - 1xx


class _Messages(Reader[Head]):
    __slots__ = ("_body", "_left", "_line", "_trailing")

    def __init__(self) -> None:
        super().__init__()
        self._body = Body.NONE
        self._left = 0  # bytes that are known to belong to the message
        self._line = b""
        self._trailing = False  # past the last chunk

    def enter(self, head: Head) -> Head:
        """A message with this head begins."""
        self.inside, self._body, self._left, self._trailing = True, head.body, head.size + head.length, False
        return head

    def through(self, data: bytes, at: int) -> int:
        """How far the message goes."""
        size = len(data)
        while True:
            if self._left:
                step = min(self._left, size - at)
                at += step
                self._left -= step
                if self._left:
                    return size
            if self._body is Body.UNTIL_END:
                return size
            if self._body is not Body.CHUNKED:
                self.inside = False
                return at
            end = data.find(b"\n", at) + 1
            if not end:
                self._line += data[at:]
                if len(self._line) > _LONGEST_LINE_BYTES:
                    raise UnreadableError
                return size
            line, self._line = self._line + data[at:end], b""
            at = end
            self._chunk_line(line.strip())

    def _chunk_line(self, line: bytes) -> None:
        if self._trailing:
            if not line:
                self._body = Body.NONE
            return
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise UnreadableError from None
        if size < 0:
            raise UnreadableError
        if size:
            self._left = size + 2  # with its line end
        else:
            self._trailing = True


class Requests(_Messages):
    """What a client says."""

    __slots__ = ()

    def head(self, data: bytes, at: int) -> Head | None:
        """The head that begins here, whole."""
        begin = at
        while begin < len(data) and data[begin] in _BLANK_LINES:
            begin += 1
        if begin == len(data):
            return None
        if data[begin] not in _METHOD_START:
            raise UnreadableError
        line = _first_line(data, begin)
        if line is None:
            return None
        form = _REQUEST.fullmatch(line)
        if form is None:
            raise UnreadableError
        end = _HEAD_END.search(data, begin)
        if end is None:
            return None
        raw = data[at : end.end()]
        fields = _fields(data[begin + len(line) + 1 : end.start() + 1])
        body, length = _declared(fields)
        if body is Body.UNTIL_END:
            body = Body.NONE
        method, target = form[1].decode("latin-1"), form[2].decode("latin-1")
        return self.enter(Head(raw, fields, body, length, method, target))


class Responses(_Messages):
    """What a server says; `method` tells that of the request that is answered next."""

    __slots__ = ("_method",)

    def __init__(self, method: Callable[[], str]) -> None:
        super().__init__()
        self._method = method

    def head(self, data: bytes, at: int) -> Head | None:
        """The head that begins here, whole."""
        start = data[at : at + len(_VERSION)]
        if start != _VERSION[: len(start)]:
            raise UnreadableError
        line = _first_line(data, at)
        if line is None:
            return None
        form = _STATUS.fullmatch(line)
        if form is None:
            raise UnreadableError
        end = _HEAD_END.search(data, at)
        if end is None:
            return None
        status = int(form[1])
        fields = _fields(data[at + len(line) + 1 : end.start() + 1])
        body, length = _declared(fields)
        if status < 200 or status in NO_BODY or self._method() == "HEAD":  # noqa: PLR2004 - 1xx
            body, length = Body.NONE, 0
        return self.enter(Head(data[at : end.end()], fields, body, length, self._method(), status=status))


def with_fields(head: bytes, set_: dict[str, str], drop: frozenset[str] = frozenset()) -> bytes:
    """The head with these fields instead of those of their names, and without those of `drop` (in lower case)."""
    out = drop | {name.lower() for name in set_}
    first, *lines = head.rstrip(b"\r\n").split(b"\n")
    kept = [line.rstrip(b"\r") for line in lines if line.split(b":")[0].strip().lower().decode("latin-1") not in out]
    new = [f"{name}: {value}".encode("latin-1", "replace") for name, value in set_.items()]
    return b"\r\n".join([first.rstrip(b"\r"), *kept, *new]) + b"\r\n\r\n"


def unchunked(body: bytes) -> bytes:
    """The content of a complete chunked body."""
    out, at = bytearray(), 0
    while at < len(body):
        end = body.index(b"\n", at) + 1
        size = int(body[at:end].split(b";")[0], 16)
        if not size:
            break
        out += body[end : end + size]
        at = end + size + 2
    return bytes(out)


def _first_line(data: bytes, at: int) -> bytes | None:
    end = data.find(b"\n", at, at + _LONGEST_LINE_BYTES)
    if end >= 0:
        return data[at:end]
    if len(data) - at >= _LONGEST_LINE_BYTES:
        raise UnreadableError
    return None


def _fields(lines: bytes) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in lines.split(b"\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            continue
        key, text = name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")
        if key == "content-length" and fields.get(key, text) != text:
            raise UnreadableError
        fields[key] = f"{fields[key]}, {text}" if key in fields and key != "content-length" else text
    return fields


def _declared(fields: dict[str, str]) -> tuple[Body, int]:
    if "transfer-encoding" in fields:
        chunked = fields["transfer-encoding"].lower().rsplit(",", 1)[-1].strip() == "chunked"
        return (Body.CHUNKED if chunked else Body.UNTIL_END), 0
    length = fields.get("content-length")
    if length is None:
        return Body.UNTIL_END, 0
    if not (length.isascii() and length.isdigit()):
        raise UnreadableError
    return Body.LENGTH, int(length)
