"""What a broken name server says: one DNS query in, one answer (or none) out; no socket here.

The format is RFC 1035, section 4: as much of it as one question needs.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from premortem.errors import FaultError

_HEADER = struct.Struct("!HHHHHH")
_ANSWER, _TRUNCATED, _RECURSION = 0x8000, 0x0200, 0x0080
_WANTED, _RECORD, _A, _AAAA = 0x0100, 0xC00C, 1, 28
_LIFETIME_S = 0  # nobody may keep what a broken server said

CODES: Mapping[str, int] = {"NOERROR": 0, "FORMERR": 1, "SERVFAIL": 2, "NXDOMAIN": 3, "NOTIMP": 4, "REFUSED": 5}
"""Answers by name, as RFC 1035 numbers them."""

KINDS = (*CODES, "TIMEOUT", "TRUNCATED")


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked: the name in lower case, the record's type (1 is A, 28 is AAAA), and the query's own bytes."""

    name: str
    kind: int
    raw: bytes
    end: int

    @classmethod
    def read(cls, query: bytes) -> Question | None:
        """None where it is no query with one question."""
        if len(query) < _HEADER.size:
            return None
        _, flags, questions, *_ = _HEADER.unpack_from(query)
        if flags & _ANSWER or questions != 1:
            return None
        labels, at = [], _HEADER.size
        while at < len(query) and query[at]:
            if query[at] > 63:  # noqa: PLR2004 - a label's greatest length; above it stand pointers, not in questions
                return None
            labels.append(query[at + 1 : at + 1 + query[at]])
            at += 1 + query[at]
        if at + 5 > len(query):
            return None
        name = b".".join(labels).decode("ascii", "replace").lower()
        return cls(name, int.from_bytes(query[at + 1 : at + 3], "big"), query, at + 5)


def answer(question: Question, kind: str, address: str = "") -> bytes | None:
    """The answer of that `kind`: None for TIMEOUT, without a record where `address` is not one of the asked type."""
    if kind == "TIMEOUT":
        return None
    packed = ipaddress.ip_address(address).packed if address and kind == "NOERROR" else b""
    fits = question.kind == {4: _A, 16: _AAAA}.get(len(packed))
    flags = _ANSWER | _RECURSION | CODES.get(kind, 0) | (_TRUNCATED if kind == "TRUNCATED" else 0)
    flags |= int.from_bytes(question.raw[2:4], "big") & _WANTED
    head = question.raw[:2] + _HEADER.pack(0, flags, 1, int(fits), 0, 0)[2:]
    record = struct.pack("!HHHIH", _RECORD, question.kind, 1, _LIFETIME_S, len(packed)) + packed
    return head + question.raw[_HEADER.size : question.end] + (record if fits else b"")


def known(kind: str) -> str:
    """`kind`, if it is one. FaultError where it is not."""
    if kind not in KINDS:
        raise FaultError(f"{kind!r}: is no answer of a name server; choose one of {', '.join(KINDS)}")
    return kind


def on_loopback(address: str) -> str:
    """`address`, if it is one of loopback: a wrong answer must lead nobody to a stranger. FaultError where not."""
    try:
        if ipaddress.ip_address(address).is_loopback:
            return address
    except ValueError:
        pass
    raise FaultError(f"{address!r}: is no address of loopback, and names are led nowhere else; use 127.0.0.2 or ::1")
