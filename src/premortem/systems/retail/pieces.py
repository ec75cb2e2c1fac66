"""A file in pieces of whole records: what a run loads at a time, and where it goes on after a death.

Laws:
- Memory is that of a few pieces, for a csv; a workbook and a parquet file are held whole, as their readers give them.
- A `Position` is enough to go on from: it does not depend on the size of the pieces before it.
- A piece ends where a record ends: at a line end outside quotes. A quote that is never closed is an error soon.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from premortem.systems.retail import text as texts
from premortem.systems.retail.columns import Match, match
from premortem.systems.retail.delimited import Dialect, dialect_of, fields, look_at_end, parse
from premortem.systems.retail.errors import SourceError
from premortem.systems.retail.grid import NO_ROWS, Table, labels_of, pick_rows, unasked
from premortem.systems.retail.reader import read_table, saying
from premortem.systems.retail.source import HEAD_BYTES, Source, is_ole, kind_of, misnamed, name_of, open_file, whole

# One record may be this long; 16 MiB without a line end outside quotes is a quote that somebody forgot.
MAX_RECORD_BYTES = 16 << 20
_SAMPLE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Position:
    """`chunk` chunks are done; the next begins at `offset` (bytes of text, else rows), at `row` of the file."""

    chunk: int
    offset: int
    row: int


@dataclass(frozen=True, slots=True)
class Piece:
    """The rows from `begin` up to `end`; nothing comes after the `last`."""

    table: Table
    begin: Position
    end: Position
    last: bool


class Pieces(Protocol):
    """A file that can be read from any position on. `size` is in the unit of the offsets."""

    @property
    def name(self) -> str: ...  # noqa: D102 - as the attribute says
    @property
    def sha256(self) -> str: ...  # noqa: D102 - as above
    @property
    def size(self) -> int: ...  # noqa: D102 - as above
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102 - as above

    def read(self, begin: Position | None, rows: int) -> Iterator[Piece]:
        """Pieces of about `rows` rows, from `begin` (None: the first row); raises `SourceError`."""
        ...


@contextmanager
def open_pieces(path: Path, sheet: str | None = None) -> Iterator[Pieces]:
    """The pieces of `path`; raises `SourceError` where it is no table that is known."""
    with open_file(path) as file:
        head = file.read(HEAD_BYTES)
        if not head or is_ole(head) or kind_of(path, head) != "csv" or sheet is not None:
            file.seek(0)
            yield Rows(whole(path, file), sheet)
            return
        with saying(name_of(path)):
            text = texts.text_of(file)
        with text.file:
            yield Csv(name_of(path), text, (*misnamed(path, "csv"), *text.warnings))


class Rows:
    """A workbook or a parquet file: read whole when the first piece is asked for."""

    def __init__(self, source: Source, sheet: str | None) -> None:
        self.name, self.sha256, self.size = source.name, source.sha256, 0
        self.warnings = source.warnings
        self._source, self._sheet = source, sheet

    def read(self, begin: Position | None, rows: int) -> Iterator[Piece]:
        """As `Pieces.read`; offsets are rows that have a value."""
        table = read_table(self._source, self._sheet)
        self.size, self.warnings = table.rows.height, table.warnings
        at = begin or Position(0, 0, int(table.rows.item(0, "source_row")))
        while True:
            part = table.rows.slice(at.offset, rows)
            offset = at.offset + part.height
            next_row = int(part.item(-1, "source_row")) + 1 if part.height else at.row
            end = Position(at.chunk + 1, offset, next_row)
            yield Piece(Table(part, table.labels, ()), at, end, last=offset >= self.size)
            if offset >= self.size:
                return
            at = end


@dataclass(frozen=True, slots=True)
class _Head:
    """What stands above the rows of a csv, and where they begin."""

    dialect: Dialect
    match: Match
    labels: tuple[str, ...]
    begin: Position
    record_bytes: float


class Csv:
    """A csv: read and cut as it goes."""

    def __init__(self, name: str, text: texts.Text, warnings: tuple[str, ...]) -> None:
        self.name, self.sha256, self.size = name, text.sha256, text.size
        self._text = text
        with saying(name):
            self._head = _head(text)
            ending = _ending(text, self._head.dialect)
        self.warnings = (*warnings, *unasked(self._head.match), *ending)

    def read(self, begin: Position | None, rows: int) -> Iterator[Piece]:
        """As `Pieces.read`; offsets are bytes of the text in UTF-8."""
        at = begin or self._head.begin
        with saying(self.name):
            if at.offset >= self.size:  # an empty piece says that this is the end, as the last one would have done
                yield self._piece(b"", at)
            for body in _cut(self._text, at.offset, max(1, int(rows * self._head.record_bytes))):
                piece = self._piece(body, at)
                yield piece
                at = piece.end

    def _piece(self, body: bytes, at: Position) -> Piece:
        head = self._head
        cells = parse(body, head.dialect, lambda: self._text.line(at.offset))
        rows = pick_rows(cells, head.match, at.row)
        end = Position(at.chunk + 1, at.offset + len(body), at.row + cells.height)
        last = end.offset >= self.size
        if last and not rows.height and at == head.begin:
            raise SourceError(NO_ROWS)
        blank = cells.height - rows.height
        said = (f"{blank} blank rows were left out of chunk {at.chunk}",) if blank else ()
        return Piece(Table(rows, head.labels, said, nul=b"\0" in body), at, end, last)


def _head(text: texts.Text) -> _Head:
    """The first record with a value names the columns."""
    dialect: Dialect | None = None
    row, offset = 1, text.begin
    for record in _cut(text, offset, 1):
        bare = record.rstrip(b"\r\n")
        if dialect is None and bare:
            dialect = dialect_of(bare.split(b"\n", 1)[0].decode())
        labels = fields(bare.decode(), dialect.delimiter) if dialect else []
        row, offset = row + 1, offset + len(record)
        if dialect and any(label.strip() for label in labels):
            found = match(labels)
            # Rows above the header are counted as they stand in the file: a header over two lines is one row.
            sample = next(text.blocks(offset), b"")[:_SAMPLE_BYTES]
            lines = sample.count(b"\n") or 1
            return _Head(dialect, found, labels_of(labels, found), Position(0, offset, row), len(sample) / lines)
    raise SourceError("has no rows at all, not even a header; was the right sheet or file sent?")


def _ending(text: texts.Text, dialect: Dialect) -> tuple[str, ...]:
    """What the last line says about the whole: see `look_at_end`."""
    begin = max(text.begin, text.size - texts.BLOCK_BYTES)
    tail = b"".join(text.blocks(begin))
    return look_at_end(tail, dialect, lambda: text.line(begin + len(tail.rstrip(b"\r\n"))))


def _cut(text: texts.Text, offset: int, size: int) -> Iterator[bytes]:
    """The text from `offset` on in parts of `size` bytes, and what is missing to the end of a record."""
    pending: list[bytes] = []
    held = 0
    for block in text.blocks(offset):
        pending.append(block)
        held += len(block)
        if held < size:
            continue
        data, begin = b"".join(pending), 0
        while (end := record_end(data, begin, size)) is not None:
            yield data[begin:end]
            begin, offset = end, offset + end - begin
        pending, held = [data[begin:]], len(data) - begin
        if held > size + MAX_RECORD_BYTES:
            raise SourceError(
                f"line {text.line(offset) + 1} and after: no record ends within {MAX_RECORD_BYTES:,} bytes, so a quote "
                "is opened there and not closed; export it again"
            )
    if held:
        yield b"".join(pending)


def record_end(data: bytes, begin: int, size: int) -> int | None:
    """Where the record that is open `size` bytes after `begin` ends; `begin` is the beginning of a record."""
    at = begin + size - 1
    if at >= len(data):
        return None
    quotes = data.count(b'"', begin, at)
    while (end := data.find(b"\n", at)) >= 0:
        quotes += data.count(b'"', at, end)
        if quotes % 2 == 0:
            return end + 1
        at = end + 1
    return None
