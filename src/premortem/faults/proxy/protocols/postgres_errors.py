"""Errors that the proxy makes up, as a PostgreSQL server would word them; their hint says where they come from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from premortem.errors import ConfigurationError
from premortem.faults.proxy.protocols.postgres_messages import ERROR, frame

_MESSAGES: Final = {
    "08006": "connection failure",
    "22003": "integer out of range",
    "23503": "insert or update on table violates foreign key constraint",
    "23505": "duplicate key value violates unique constraint",
    "25006": "cannot execute this statement in a read-only transaction",
    "28P01": "password authentication failed",
    "3D000": "database does not exist",
    "40001": "could not serialize access due to concurrent update",
    "40003": "it is not known whether the statement was completed",
    "40P01": "deadlock detected",
    "42P01": "relation does not exist",
    "53100": "could not extend file: No space left on device",
    "53200": "out of memory",
    "53300": "sorry, too many clients already",
    "55P03": "could not obtain lock on row",
    "57014": "canceling statement due to user request",
    "57P01": "terminating connection due to administrator command",
    "57P02": "terminating connection because of crash of another server process",
    "57P03": "the database system is starting up",
    "58030": "could not read file: Input/output error",
    "XX000": "internal error",
    "XX001": "invalid page in block 0 of relation",
}
_FATAL = re.compile(r"57P0[1-5]|53300|08...|28...|3D000")
_CODE = re.compile(r"[0-9A-Z]{5}")


@dataclass(frozen=True, slots=True)
class MadeUpError:
    """A SQLSTATE and what the server says with it."""

    code: str
    text: str

    @property
    def words(self) -> str:
        """How a hit is told."""
        return f"the answer was made up: {'FATAL' if self.fatal else 'ERROR'} {self.code} {self.text}"

    @property
    def fatal(self) -> bool:
        """The server closes the connection after it."""
        return _FATAL.fullmatch(self.code) is not None

    def response(self, recipe: str, *, fatal: bool = False) -> bytes:
        """The ErrorResponse. `fatal`: whatever its code is; at startup every error is."""
        severity = "FATAL" if fatal or self.fatal else "ERROR"
        fields = (
            f"S{severity}",
            f"V{severity}",
            f"C{self.code}",
            f"M{self.text}",
            f"Hpremortem made this up: {recipe}",
        )
        return frame(ERROR, b"".join(field.encode() + b"\0" for field in fields) + b"\0")


def made_up(effect: str) -> MadeUpError:
    """Read `error SQLSTATE [MESSAGE]`."""
    _, _, rest = effect.partition(" ")
    code, _, text = rest.strip().partition(" ")
    if not _CODE.fullmatch(code):
        raise ConfigurationError(
            f"{effect!r}: {code!r} is no SQLSTATE, which has five digits or capital letters; write error 40001"
        )
    if "\0" in text:
        raise ConfigurationError(f"{effect!r}: a message holds no zero byte; leave it out")
    return MadeUpError(code, text.strip() or _MESSAGES.get(code, "this statement was made to fail"))
