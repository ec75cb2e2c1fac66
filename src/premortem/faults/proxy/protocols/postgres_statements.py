"""The statements of a SQL text, and the names that recipes know them by.

A statement is named by its first keyword, in upper case; some by two (PREPARE TRANSACTION, ROLLBACK TO, COMMIT
PREPARED). It also goes by the keyword with the table or the kind of object: "INSERT payments", "CREATE TABLE".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

KEYWORDS: Final = frozenset(
    (
        *("ALTER", "ANALYZE", "BEGIN", "CALL", "CHECKPOINT", "CLOSE", "CLUSTER", "COMMENT", "COMMIT"),
        *("COPY", "CREATE", "DEALLOCATE", "DECLARE", "DELETE", "DISCARD", "DO", "DROP", "EXECUTE"),
        *("EXPLAIN", "FETCH", "GRANT", "IMPORT", "INSERT", "LISTEN", "LOAD", "LOCK", "MERGE"),
        *("MOVE", "NOTIFY", "PREPARE", "REASSIGN", "REFRESH", "REINDEX", "RELEASE", "RESET", "REVOKE"),
        *("ROLLBACK", "SAVEPOINT", "SECURITY", "SELECT", "SET", "SHOW", "TABLE", "TRUNCATE", "UNLISTEN"),
        *("UPDATE", "VACUUM", "VALUES", "WITH"),
    )
)
OTHER_WORDS: Final = {"END": "COMMIT", "ABORT": "ROLLBACK", "START": "BEGIN", "START TRANSACTION": "BEGIN"}
PAIRS: Final = frozenset(("PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED", "ROLLBACK TO"))
_ENDS = frozenset(("COMMIT", "ROLLBACK", "PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED"))
_OBJECTS = frozenset(("CREATE", "DROP", "ALTER"))

_TOKEN = re.compile(
    rb"(?<![A-Za-z0-9_$\x80-\xff])[eE]'(?:[^'\\]|\\.|'')*(?:'|\Z)"
    rb"|'(?:[^']|'')*(?:'|\Z)"
    rb'|"[^"]*(?:"|\Z)'
    rb"|--[^\n]*"
    rb"|/\*"
    rb"|(?<![A-Za-z0-9_$\x80-\xff])\$(?P<tag>[A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$"
    rb"|[();]",
    re.DOTALL,
)
_COMMENT_EDGE = re.compile(rb"/\*|\*/")
_BLANK = re.compile(rb"(?:[\s(]+|--[^\n]*(?:\n|\Z))*")
_WORD = re.compile(rb"[A-Za-z]+")
_ATOMIC = re.compile(rb"\bBEGIN\s+ATOMIC\b", re.IGNORECASE)  # a function's body in plain SQL, with semicolons
_BACK_TO = re.compile(rb"\s*(?:(?:WORK|TRANSACTION)\s+)?TO\b", re.IGNORECASE)
_NAME = rb'\s*((?:"[^"]*"|[\w$\x80-\xff]+)(?:\s*\.\s*(?:"[^"]*"|[\w$\x80-\xff]+))*)'
_TABLE_AFTER = {
    "INSERT": re.compile(rb"\s*INTO" + _NAME, re.IGNORECASE),
    "MERGE": re.compile(rb"\s*INTO(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE),
    "DELETE": re.compile(rb"\s*FROM(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE),
    "UPDATE": re.compile(rb"(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE),
    "COPY": re.compile(_NAME),
    "TRUNCATE": re.compile(rb"(?:\s+TABLE\b)?(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE),
    "LOCK": re.compile(rb"(?:\s+TABLE\b)?(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE),
    "SELECT": re.compile(rb".*?\bFROM(?:\s+ONLY\b)?" + _NAME, re.IGNORECASE | re.DOTALL),
}


@dataclass(frozen=True, slots=True)
class Statement:
    """`names` it goes by, the first of which tells; `start` is the offset in bytes at which it may be cut off."""

    names: tuple[str, ...]
    start: int

    @property
    def ends_transaction(self) -> bool:
        """What it does is durable, or undone, as soon as the server says so."""
        return bool(self.names) and self.names[0] in _ENDS


NOTHING: Final = Statement((), 0)


def canonical(name: str) -> str:
    """END is COMMIT, ABORT is ROLLBACK, START TRANSACTION is BEGIN."""
    return OTHER_WORDS.get(name, name)


def statements(text: bytes, *, tables: bool) -> list[Statement]:
    """Those that do something, in order. `tables`: name them by their tables also, which takes longer."""
    found = []
    for start, end in _pieces(text):
        begin = _begin(text, start)
        if begin < end:
            found.append(Statement(_names(text[begin:end], tables=tables), start))
    return found


def _pieces(text: bytes) -> Iterator[tuple[int, int]]:
    if text.find(b";", 0, len(text.rstrip(b"; \t\r\n"))) < 0 or _ATOMIC.search(text):
        yield 0, len(text.rstrip(b"; \t\r\n"))
        return
    start = at = depth = 0
    while (token := _TOKEN.search(text, at)) is not None:
        at, mark = token.end(), token[0]
        if mark == b"/*":
            at = _after_comment(text, at)
        elif mark.startswith(b"$"):
            close = text.find(mark, at)
            at = len(text) if close < 0 else close + len(mark)
        elif mark in {b"(", b")"}:
            depth += 1 if mark == b"(" else -1
        elif mark == b";" and depth <= 0:
            yield start, token.start()
            start, depth = at, 0
    yield start, len(text)


def _after_comment(text: bytes, at: int) -> int:
    """PostgreSQL's comments nest."""
    depth = 1
    while depth and (edge := _COMMENT_EDGE.search(text, at)) is not None:
        depth += 1 if edge[0] == b"/*" else -1
        at = edge.end()
    return len(text) if depth else at


def _begin(text: bytes, at: int) -> int:
    """Past blanks, comments and opening parentheses."""
    while True:
        blank = _BLANK.match(text, at)
        at = blank.end() if blank else at
        if text[at : at + 2] != b"/*":
            return at
        at = _after_comment(text, at + 2)


def _names(text: bytes, *, tables: bool) -> tuple[str, ...]:
    word = _WORD.match(text)
    if word is None:
        return ()
    first = canonical(word[0].decode().upper())
    rest = text[word.end() :]
    if first == "ROLLBACK" and _BACK_TO.match(rest):
        return ("ROLLBACK TO",)
    second = _WORD.match(rest, _begin(rest, 0)) if first in {"PREPARE", "COMMIT", "ROLLBACK"} or tables else None
    pair = f"{first} {second[0].decode().upper()}" if second else ""
    if pair in PAIRS:
        return (pair,)
    if not tables:
        return (first,)
    return (first, pair) if first in _OBJECTS and pair else (first, *_with_table(first, rest))


def _with_table(keyword: str, rest: bytes) -> tuple[str, ...]:
    form = _TABLE_AFTER.get(keyword)
    found = form.match(rest) if form else None
    if found is None:
        return ()
    last = found[1].rsplit(b".", 1)[-1].strip().decode(errors="replace")
    return (f"{keyword} {last[1:-1] if last.startswith(chr(34)) else last.lower()}",)
