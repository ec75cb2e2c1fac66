"""The messages of PostgreSQL's protocol 3: their names, what answers what, and how to write them.

Source: the PostgreSQL manual, "Frontend/Backend Protocol", Message Formats.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

STARTUP: Final = 0  # it has no letter
CLIENT_NAMES: Final = {
    STARTUP: "StartupMessage",
    ord("p"): "PasswordMessage",  # and the SASL and GSSAPI responses, which share its letter
    ord("Q"): "Query",
    ord("P"): "Parse",
    ord("B"): "Bind",
    ord("D"): "Describe",
    ord("E"): "Execute",
    ord("C"): "Close",
    ord("S"): "Sync",
    ord("H"): "Flush",
    ord("F"): "FunctionCall",
    ord("d"): "CopyData",
    ord("c"): "CopyDone",
    ord("f"): "CopyFail",
    ord("X"): "Terminate",
}
SERVER_NAMES: Final = {
    ord("R"): "Authentication",
    ord("v"): "NegotiateProtocolVersion",
    ord("K"): "BackendKeyData",
    ord("S"): "ParameterStatus",
    ord("N"): "NoticeResponse",
    ord("A"): "NotificationResponse",
    ord("Z"): "ReadyForQuery",
    ord("E"): "ErrorResponse",
    ord("1"): "ParseComplete",
    ord("2"): "BindComplete",
    ord("3"): "CloseComplete",
    ord("t"): "ParameterDescription",
    ord("T"): "RowDescription",
    ord("n"): "NoData",
    ord("D"): "DataRow",
    ord("C"): "CommandComplete",
    ord("I"): "EmptyQueryResponse",
    ord("s"): "PortalSuspended",
    ord("V"): "FunctionCallResponse",
    ord("G"): "CopyInResponse",
    ord("H"): "CopyOutResponse",
    ord("W"): "CopyBothResponse",
    ord("d"): "CopyData",
    ord("c"): "CopyDone",
}
PASSWORD, QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, FUNCTION = b"pQPBDECSHF"
COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE = b"dcfX"
READY, ERROR, COMPLETE, EMPTY, COPY_IN, COPY_BOTH = b"ZECIGW"

ANSWERS: Final = {
    STARTUP: frozenset(b"R"),
    PASSWORD: frozenset(b"R"),
    PARSE: frozenset(b"1"),
    BIND: frozenset(b"2"),
    DESCRIBE: frozenset(b"Tn"),
    EXECUTE: frozenset(b"CIs"),
    CLOSE: frozenset(b"3"),
    SYNC: frozenset(b"Z"),
    QUERY: frozenset(b"Z"),
    FUNCTION: frozenset(b"Z"),
}
"""The last message that answers each; an ErrorResponse answers any. What is not here has no answer of its own."""
ROUNDS: Final = frozenset((SYNC, QUERY, FUNCTION))
"""What ReadyForQuery answers."""
UNASKED: Final = frozenset(b"NSA")
"""What the server may say at any time: notices, settings, notifications."""

CANCEL_REQUEST: Final = "CancelRequest"
ENCRYPTION_REQUEST: Final = "EncryptionRequest"
NO_ENCRYPTION: Final = b"N"
_LENGTH = Struct(">I")
_ROUTINE = frozenset(b"DdNSAtKHVc")  # answers that end nothing


def routine(wanted: frozenset[str]) -> frozenset[int]:
    """The server's messages that need no look while nobody asks for them."""
    return frozenset(kind for kind in _ROUTINE if SERVER_NAMES[kind] not in wanted)


def frame(kind: int, body: bytes) -> bytes:
    """One message."""
    return bytes((kind,)) + _LENGTH.pack(len(body) + 4) + body


def query(text: bytes) -> bytes:
    """A simple Query."""
    return frame(QUERY, text + b"\0")


def execute(portal: bytes) -> bytes:
    """Execute all of a portal."""
    return frame(EXECUTE, portal + b"\0\0\0\0\0")


def close_statement(name: bytes) -> bytes:
    """Forget a prepared statement; that there is none is no error."""
    return frame(CLOSE, b"S" + name + b"\0")


def parse_and_bind(name: bytes, text: bytes) -> bytes:
    """A prepared statement and its portal, both with that name, without parameters."""
    return frame(PARSE, name + b"\0" + text + b"\0\0\0") + frame(BIND, name + b"\0" + name + b"\0" + b"\0" * 6)
