"""Answers of HTTP made into others as they pass: another head, a part of the body, drop by drop, a field renamed."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from typing import Final

from premortem.faults.proxy.protocols import Action, Cut, Hit, Pass, Wait
from premortem.faults.proxy.protocols.engine import LIMIT_BYTES
from premortem.faults.proxy.protocols.http1_messages import Body, Head, unchunked, with_fields

COLLECT_BYTES: Final = 1 << 20
"""A body that is larger is not held in memory to be written anew."""


class Relabelled:
    """Other bytes in place of the first `size`, once; the rest as it comes."""

    def __init__(self, size: int, instead: list[Action]) -> None:
        self._left = size
        self._instead = instead

    def feed(self, data: bytes) -> list[Action]:
        """The next piece."""
        out, self._instead = self._instead, []
        skipped = min(self._left, len(data))
        self._left -= skipped
        return [*out, Pass(data[skipped:])] if skipped < len(data) else out

    def end(self) -> list[Action]:
        """That was all."""
        return []


class Truncated:
    """So many bytes of the body and no more; without a number, half of what comes, or of LIMIT_BYTES."""

    def __init__(self, head_size: int, keep: int | None, hit: Hit) -> None:
        self._keep = None if keep is None else head_size + keep
        self._head_size = head_size
        self._hit = hit
        self._held = b""

    def feed(self, data: bytes) -> list[Action]:
        """The next piece."""
        if self._keep is None:
            self._held += data
            return self.end() if len(self._held) >= self._head_size + LIMIT_BYTES else []
        if len(data) <= self._keep:
            self._keep -= len(data)
            return [Pass(data)]
        kept = [Pass(data[: self._keep])] if self._keep else []
        return [*kept, self._hit, Cut(reset=False)]

    def end(self) -> list[Action]:
        """That was all."""
        if self._keep is not None:
            return []
        body = min(len(self._held) - self._head_size, LIMIT_BYTES)
        return [Pass(self._held[: self._head_size + body // 2]), self._hit, Cut(reset=False)]


class Dripping:
    """The head at once, the body in pieces."""

    def __init__(self, head_size: int, size: int, pause_s: float, hit: Hit) -> None:
        self._head_left = head_size
        self._size = size
        self._pause_s = pause_s
        self._room = size
        self._hit: list[Action] = [hit]

    def feed(self, data: bytes) -> list[Action]:
        """The next piece."""
        at = min(self._head_left, len(data))
        self._head_left -= at
        out: list[Action] = [Pass(data[:at])] if at else []
        while at < len(data):
            out += self._hit
            self._hit = []
            if not self._room:
                out.append(Wait(self._pause_s))
                self._room = self._size
            piece = data[at : at + self._room]
            out.append(Pass(piece))
            at += len(piece)
            self._room -= len(piece)
        return out

    def end(self) -> list[Action]:
        """That was all."""
        return []


class Renamed:
    """The whole answer, written anew; an answer without that field is left as it is."""

    def __init__(self, head: Head, old: str, new: str, hit: Hit) -> None:
        self._head = head
        self._names = (json.dumps(old).encode(), json.dumps(new).encode())
        self._hit = hit
        self._held = bytearray()
        self._gave_up = False

    def feed(self, data: bytes) -> list[Action]:
        """The next piece."""
        if self._gave_up:
            return [Pass(data)]
        self._held += data
        if len(self._held) <= self._head.size + 2 * COLLECT_BYTES:
            return []
        self._gave_up = True
        return [Pass(bytes(self._held))]

    def end(self) -> list[Action]:
        """That was all."""
        if self._gave_up:
            return []
        body = self._content(bytes(self._held[self._head.size :]))
        old, new = self._names
        renamed, times = re.subn(
            re.escape(old) + rb"(?=\s*:)", lambda _: new, body
        )  # a value is never followed by a colon
        if not times:
            return [Pass(bytes(self._held))]
        gone = frozenset(("transfer-encoding", "content-encoding", "trailer"))
        head = with_fields(self._head.raw, {"Content-Length": str(len(renamed))}, gone)
        return [Pass(head + renamed), self._hit]

    def _content(self, body: bytes) -> bytes:
        """Without chunks and compression; nothing if it cannot be read."""
        try:
            plain = unchunked(body) if self._head.body is Body.CHUNKED else body
            coding = self._head.fields.get("content-encoding", "identity").lower()
            if coding in {"gzip", "x-gzip"}:
                return gzip.decompress(plain)
            return zlib.decompress(plain) if coding == "deflate" else plain
        except (OSError, EOFError, ValueError, zlib.error):
            return b""
