"""A document with its length and its checksum in front, so that no damage goes unseen.

One line of header and then the body: `premortem KIND 1 LENGTH SHA256`. Law: the header has one way to be written, and
what differs from it in a single byte is damaged; so every truncation, every flipped bit and every edit is found.
"""

from __future__ import annotations

import hashlib

from premortem.durable.errors import DamagedError

_FORMAT = 1
_RESTORE = "restore it from a copy, or remove it to begin anew"


def framed(kind: str, body: bytes) -> bytes:
    """The bytes to keep for `body`; `kind` is one word, and only it can be read back."""
    return _header(kind, body) + body


def unframed(kind: str, data: bytes, where: str) -> bytes:
    """The body. DamagedError names `where` and says whether it is empty, torn, edited, or something else."""
    header, newline, body = data.partition(b"\n")
    if data and header + newline == _header(kind, body):
        return body
    raise DamagedError(where, _wrong(kind, header, body, bool(newline)), _RESTORE)


def digest(data: bytes) -> str:
    """32 characters that no other content has."""
    return hashlib.sha256(data).hexdigest()[:32]


def _header(kind: str, body: bytes) -> bytes:
    return f"premortem {kind} {_FORMAT} {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()


def _wrong(kind: str, header: bytes, body: bytes, whole: bool) -> str:  # noqa: FBT001 - internal
    words = header.split(b" ")
    if not header:
        return "it is empty"
    if not whole or words[:2] != [b"premortem", kind.encode()] or len(words) != 5:  # noqa: PLR2004 - the header's words
        return f"its first line {header[:60]!r} is not the header of a {kind}"
    if words[2] != str(_FORMAT).encode():
        return f"format {words[2][:10]!r} is not {_FORMAT}, the one that is known here"
    if words[3] != str(len(body)).encode():
        return f"its body has {len(body)} bytes, and its header says {words[3][:20].decode(errors='replace')}"
    return "the checksum differs: bytes were changed after it was written"
