"""The bytes of an append log: how a record is written, and how records are found again around damage.

A record is a mark, its length, a CRC-32 over length and content, and the content. The mark is there to find the next
record behind a damaged length. Law: a record is taken for one only when its checksum says so.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from premortem.errors import ConfigurationError

MAGIC = b"premortem log 1\n"
MOST_BYTES = 64 << 20
_MARK = b"\xf5rec"
_HEAD = struct.Struct("<4sII")  # mark, length, checksum
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Whole:
    """A record at offset `at`."""

    at: int
    record: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes from offset `at` to before `end` that are no record; at the end of the file, a torn tail."""

    at: int
    end: int


def packed(record: bytes) -> bytes:
    """A record as it is written. ConfigurationError above 64 MiB."""
    if len(record) > MOST_BYTES:
        raise ConfigurationError(
            f"a record of {len(record)} bytes: has to be {MOST_BYTES} at most; keep the bulk elsewhere"
        )
    return _HEAD.pack(_MARK, len(record), _checksum(len(record), record)) + record


def scanned(file: int, at: int, end: int) -> Iterator[Whole | Gap]:
    """What stands from offset `at` (0, or the end of a record) to `end` in descriptor `file`, in order, all of it."""
    source = _Source(file, end)
    if at == 0 and end > 0:
        if source.read(0, len(MAGIC)) == MAGIC:
            at = len(MAGIC)
        else:
            at = _next(source, 0)
            yield Gap(0, at)
    while at < end:
        record = _record(source, at)
        if record is not None:
            yield Whole(at, record)
            at += _HEAD.size + len(record)
        else:
            begin, at = at, _next(source, at + 1)
            yield Gap(begin, at)


class _Source:
    """Reads ahead, so that small records do not cost a system call each; never past `end`."""

    def __init__(self, file: int, end: int) -> None:
        self._file, self.end = file, end
        self._begin, self._block = 0, b""

    def read(self, at: int, size: int) -> bytes:
        """`size` bytes from `at`; fewer where `end` comes first."""
        size = min(size, self.end - at)
        skip = at - self._begin
        if skip < 0 or skip + size > len(self._block):
            self._begin, skip = at, 0
            self._block = os.pread(self._file, min(max(size, _BLOCK), self.end - at), at)
        return self._block[skip : skip + size]


def _record(source: _Source, at: int) -> bytes | None:
    head = source.read(at, _HEAD.size)
    if len(head) < _HEAD.size:
        return None
    mark, length, checksum = _HEAD.unpack(head)
    if mark != _MARK or length > min(MOST_BYTES, source.end - at - _HEAD.size):
        return None
    record = source.read(at + _HEAD.size, length)
    return record if len(record) == length and _checksum(length, record) == checksum else None


def _next(source: _Source, at: int) -> int:
    """The offset of the first record from `at` on, `source.end` where there is none."""
    while at < source.end:
        block = source.read(at, _BLOCK)
        found = block.find(_MARK)
        if not block:
            break  # cut meanwhile
        if found < 0:
            at += max(1, len(block) - len(_MARK) + 1)
        elif _record(source, at + found) is not None:
            return at + found
        else:
            at += found + 1
    return source.end


def _checksum(length: int, record: bytes) -> int:
    return zlib.crc32(record, zlib.crc32(struct.pack("<I", length)))
