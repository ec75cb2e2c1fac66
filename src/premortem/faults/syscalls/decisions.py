"""What can be answered to a program that is about to make a system call.

Each is a value; `effects` carries it out. `Go` is by far the most common one, so there is one of it: `GO`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Go:
    """The call takes place."""


@dataclass(frozen=True, slots=True)
class Fail:
    """The call does not take place, and the program is told `errno` (a number of the module `errno`)."""

    errno: int


@dataclass(frozen=True, slots=True)
class Short:
    """Half of the bytes are written, sent or copied, or half of what is there is read: what POSIX allows at any time.

    A read of a connection that would wait for its peer waits, and then gets half of what has come.
    """


@dataclass(frozen=True, slots=True)
class Drop:
    """The call does not take place, and the program is told that it did: a disk that lies about a write or an fsync."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The call takes place `seconds` later; the program's other threads go on meanwhile."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL, before the call takes place: to the process that makes it, or to the whole `family` that was started."""

    family: bool = False


@dataclass(frozen=True, slots=True)
class Sever:
    """The connection is shut down first, for good: a read is at its end, for all else the kernel makes the errors.

    What had arrived and was not read is lost. With an `errno` this one call fails with that, and the kernel makes the
    errors of all that follow. A bare errno on a connection that stays alive is no fault that happens: libpq, told so,
    waits for ever for the server's last words.
    """

    errno: int = 0


Decision = Go | Fail | Short | Drop | Pause | Kill | Sever

GO = Go()
