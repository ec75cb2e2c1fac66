"""What can go wrong in an ingest, split by who must act: the sender of the file, the owner of the database, us.

Law: no message carries a secret; what the database said is quoted only after the password was struck out.
"""

from __future__ import annotations

from premortem.errors import PremortemError


class RetailError(PremortemError):
    """What was asked for did not happen: of the file, the chunk or the step that failed nothing is in the database."""


class SourceError(RetailError):
    """The sender must act: the file cannot be read as a table of invoices."""


class HeaderError(SourceError):
    """The sender must act: columns are missing or doubled.

    `missing` and `doubled` are column names as they are in the original workbook, `found` the header of the file.
    """

    def __init__(
        self, message: str, *, missing: tuple[str, ...], doubled: tuple[str, ...], found: tuple[str, ...]
    ) -> None:
        super().__init__(message)
        self.missing = missing
        self.doubled = doubled
        self.found = found


class TooManyDeadError(SourceError):
    """The sender must act: a larger share of the rows breaks a rule than the settings allow."""

    def __init__(self, message: str, *, read: int, dead: int) -> None:
        super().__init__(message)
        self.read = read
        self.dead = dead


class AlreadyLoadedError(RetailError):
    """Nobody must act: these very bytes were loaded before, as `batch`."""

    def __init__(self, message: str, *, batch: int) -> None:
        super().__init__(message)
        self.batch = batch


class DatabaseError(RetailError):
    """The database's owner must act: it did not take the rows. `sqlstate` is the server's code, if it answered."""

    sqlstate: str | None = None


class DatabaseUnreachableError(DatabaseError):
    """Nobody answers at that address, or the connection broke."""


class DatabaseAccessError(DatabaseError):
    """The database answered, and refused this user, this database name or this table."""


class DatabaseTimeoutError(DatabaseError):
    """The database or the network to it was silent for longer than the settings allow."""


class DatabaseBusyError(DatabaseError):
    """Nobody must act: the database was starting, full of sessions or in a deadlock; the same again may do."""


class CommitUnknownError(DatabaseError):
    """The connection broke during COMMIT: whether `batch` is in the database has to be looked up there."""

    def __init__(self, message: str, *, batch: int) -> None:
        super().__init__(message)
        self.batch = batch


class LostRowsError(DatabaseError):
    """We must act: the database counted other rows than were sent, and the batch was rolled back."""


class StaleClaimError(RetailError):
    """Nobody must act: another worker has taken the file over, and this one stopped before it wrote."""


class RetentionError(RetailError):
    """Whoever keeps the months must act: this one is not ready to go, or its file could not be written."""


class TransformError(DatabaseError):
    """The step's author must act: `statement` (from 1) of `file`, in `line`, failed, and the whole step with it."""

    def __init__(self, message: str, *, file: str, statement: int, line: int) -> None:
        super().__init__(message)
        self.file = file
        self.statement = statement
        self.line = line
