"""A file as it is: opened once, and what it is by its content.

Laws:
- What is hashed is what is parsed: the file is read once, so that one replaced in between cannot slip through.
- The content decides; the extension is only compared with it, and a difference is said aloud.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from premortem.systems.retail.errors import SourceError

Kind = Literal["workbook", "csv", "parquet"]

# The first bytes of what people send by mistake, and what to do about it.
_WRONG = (
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"%PDF", "a PDF document"),
    (b"\x1f\x8b", "a gzip archive: unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it first"),
    (b"Rar!", "a RAR archive: unpack it first"),
    (b"SQLite format 3", "an SQLite database"),
    (b"<!DOCTYPE", "a web page, probably an error page saved in place of the file: download it again"),
    (b"<html", "a web page, probably an error page saved in place of the file: download it again"),
)
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 4096
_CONTROLS = bytes(code for code in range(32) if code not in b"\t\n\r\f\x1a")
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_EXTENSIONS: dict[str, Kind] = {
    ".xlsx": "workbook",
    ".xlsm": "workbook",
    ".xlsb": "workbook",
    ".ods": "workbook",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A file as it was at one moment: its name, its bytes, their SHA-256, and their kind by content."""

    name: str
    data: bytes
    sha256: str
    kind: Kind
    warnings: tuple[str, ...] = ()


def open_source(path: Path) -> Source:
    """Read `path` once; raises `SourceError` where it is no file or no table."""
    with open_file(path) as file:
        return whole(path, file)


def whole(path: Path, file: BinaryIO) -> Source:
    """All of an open file; raises `SourceError`."""
    try:
        data = file.read()
    except OSError as error:
        raise _unreadable(path, error) from error
    if not data:
        raise SourceError(f"{path}: is empty (0 bytes); was it copied or downloaded to the end?")
    kind = kind_of(path, data)
    return Source(name_of(path), data, hashlib.sha256(data).hexdigest(), kind, misnamed(path, kind))


def open_file(path: Path) -> BinaryIO:
    """`path`, open for reading; raises `SourceError` where it is no regular file, or one that may not be read."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise SourceError(f"{path}: is a folder, not a file; name the file in it")
        if not stat.S_ISREG(mode):
            # A named pipe would block for ever, a device may never end.
            raise SourceError(f"{path}: is no regular file; copy its content to a file first")
        return path.open("rb")
    except FileNotFoundError:
        raise SourceError(f"{path}: there is no such file; check the path (now in {Path.cwd()})") from None
    except PermissionError:
        raise SourceError(f"{path}: this user may not read it; chmod it, or run as its owner") from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def name_of(path: Path) -> str:
    """The file's name as text that PostgreSQL and a terminal take: on Linux it may be bytes that are no UTF-8."""
    return os.fsencode(path.name).decode(errors="replace")


def misnamed(path: Path, kind: Kind) -> tuple[str, ...]:
    """A warning where the extension says another kind than the content."""
    expected = _EXTENSIONS.get(path.suffix.lower())
    if expected in (None, kind):
        return ()
    return (f"{name_of(path)} is named as a {expected} and is a {kind}: read by its content",)


def kind_of(path: Path, data: bytes) -> Kind:
    """What `data`, the file or the first bytes of it, is; raises `SourceError`."""
    if data.startswith(_OLE):
        raise SourceError(f"{path}: {_ole(data)}")
    for magic, what in _WRONG:
        if data[:64].lstrip().lower().startswith(magic.lower()):
            raise SourceError(f"{path}: is {what}; expected is an .xlsx workbook, a csv or a parquet file")
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "workbook"
    if data.startswith(b"PAR1"):
        return "parquet"
    # A stray NUL is one bad row's matter; a tenth of random bytes are control characters, of text none.
    head = data[:HEAD_BYTES]
    if len(head.translate(None, _CONTROLS)) < 0.95 * len(head) and not data.startswith(UTF_16):
        raise SourceError(
            f"{path}: is a binary file of an unknown kind; expected is an .xlsx workbook, a csv or a parquet file"
        )
    return "csv"


def is_ole(head: bytes) -> bool:
    """Whether it is the container of old Excel files, of which the whole has to be seen."""
    return head.startswith(_OLE)


def _ole(data: bytes) -> str:
    # Excel wraps an encrypted workbook in the container format of its old files; the stream's name gives it away.
    if "EncryptedPackage".encode("utf-16-le") in data:
        return "is encrypted with a password; open it in Excel, remove the password (File, Info), save it again"
    return "is an old Excel file (.xls) or encrypted; open it in Excel and save it as .xlsx without a password"


def _unreadable(path: Path, error: Exception) -> SourceError:
    return SourceError(f"{path}: cannot be read ({error}); check the path and the disk")
