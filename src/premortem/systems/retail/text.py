"""The text of a csv: surveyed once from end to end, then read in blocks that are held against the survey.

Laws:
- Memory does not grow with the file: one block of it is held at a time. What is not UTF-8 is converted into an
  unnamed temporary file.
- A block that is no longer what was hashed ends the reading: a file that is written to while it is loaded is refused.
- An encoding that had to be guessed is said aloud.
"""

from __future__ import annotations

import codecs
import hashlib
import tempfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

from premortem.systems.retail.errors import SourceError
from premortem.systems.retail.source import UTF_16

BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Text:
    """UTF-8 in `file`, from byte `begin` to `size`; `sha256` is of the bytes as they came, `sums` of the blocks."""

    file: BinaryIO
    sha256: str
    begin: int
    size: int
    sums: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    def blocks(self, offset: int) -> Iterator[bytes]:
        """The bytes from `offset` on, block by block; raises `SourceError` where they have changed."""
        number = offset // BLOCK_BYTES
        skip = offset - number * BLOCK_BYTES
        for expected in self.sums[number:]:
            self.file.seek(number * BLOCK_BYTES)
            block = self.file.read(BLOCK_BYTES)
            if zlib.crc32(block) != expected:
                raise SourceError(
                    f"was changed while it was being loaded (byte {number * BLOCK_BYTES:,} and after); "
                    "write to another name and rename it when it is whole, then run again"
                )
            yield block[skip:] if skip else block
            number, skip = number + 1, 0

    def line(self, offset: int) -> int:
        """How many lines end before `offset`."""
        left, lines = offset, 0
        for block in self.blocks(0):
            lines += block.count(b"\n", 0, max(0, left))
            left -= len(block)
            if left <= 0:
                break
        return lines


@dataclass(slots=True)
class _Survey:
    """What is found out on the way through the bytes."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    sums: list[int] = field(default_factory=list)
    size: int = 0
    bad_at: int = -1  # the first byte that is no UTF-8; -1 is none
    beyond_ascii: bool = False  # something besides ASCII made sense as UTF-8
    decode: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    def add(self, block: bytes) -> None:
        self.sums.append(zlib.crc32(block))
        self.size += len(block)
        if not block.isascii() or self.decode.getstate()[0]:
            self.look(block)

    def look(self, block: bytes, *, final: bool = False) -> None:
        pending = self.decode.getstate()[0]
        try:
            text = self.decode.decode(block, final)
        except UnicodeDecodeError as error:
            if self.bad_at < 0:
                self.bad_at = self.size - len(block) - len(pending) + error.start
            # From here on only one thing is asked: does the rest look like UTF-8 anywhere?
            self.decode = codecs.getincrementaldecoder("utf-8")("ignore")
            text = self.decode.decode(pending + block, final)
        self.beyond_ascii = self.beyond_ascii or not text.replace("\ufeff", "").isascii()


def text_of(file: BinaryIO) -> Text:
    """Survey `file` from its beginning; raises `SourceError` where it is no text of a known encoding."""
    file.seek(0)
    survey = _Survey()
    head = b""
    with ThreadPoolExecutor(1, thread_name_prefix="retail-hash") as pool:  # hashing is half of the survey
        while block := file.read(BLOCK_BYTES):
            head = head or block[:4]
            hashed = pool.submit(survey.digest.update, block)
            survey.add(block)
            hashed.result()
    sha256 = survey.digest.hexdigest()
    if head.startswith(UTF_16):
        return _converted(file, "utf-16", sha256, "the file is UTF-16, as Excel's 'Unicode text': converted")
    survey.look(b"", final=True)
    if survey.bad_at < 0:
        begin = len(codecs.BOM_UTF8) if head.startswith(codecs.BOM_UTF8) else 0
        return Text(file, sha256, begin, survey.size, tuple(survey.sums))
    line = Text(file, sha256, 0, survey.size, tuple(survey.sums)).line(survey.bad_at) + 1
    # Latin-1 hardly ever looks like UTF-8; where some of it does, it is UTF-8 and a byte of it is broken.
    if survey.beyond_ascii:
        raise SourceError(f"line {line}: is damaged UTF-8 text; was it cut off or mixed? Export it again") from None
    said = f"the file is not UTF-8 (line {line}): read as Latin-1, so check accents and currency signs"
    return _converted(file, "latin-1", sha256, said)


def _converted(file: BinaryIO, encoding: str, sha256: str, said: str) -> Text:
    file.seek(0)
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the text, and has no name to be left behind
    decoder = codecs.getincrementaldecoder(encoding)()
    survey = _Survey()
    pending = bytearray()

    def put(text: str) -> None:
        pending.extend(text.encode())
        while len(pending) >= BLOCK_BYTES:
            block = bytes(pending[:BLOCK_BYTES])
            del pending[:BLOCK_BYTES]
            copy.write(block)
            survey.add(block)

    try:
        while block := file.read(BLOCK_BYTES):
            put(decoder.decode(block))
        put(decoder.decode(b"", True))
    except UnicodeError as error:
        copy.close()
        raise SourceError(f"is damaged UTF-16 text ({error}); save it as 'CSV UTF-8'") from None
    if pending:
        copy.write(pending)
        survey.add(bytes(pending))
    return Text(copy, sha256, 0, survey.size, tuple(survey.sums), (said,))
