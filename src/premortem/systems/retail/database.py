"""The connection to PostgreSQL: bounded in every wait, and its errors said in our words.

Law: what libpq says is quoted without secrets, and never chained where it could carry one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import conninfo, errors

from premortem.systems.retail.errors import (
    DatabaseAccessError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnreachableError,
)
from premortem.systems.retail.settings import RetailSettings
from premortem.systems.retail.target import Target
from premortem.systems.retail.watchdog import Watchdog

# The server's own timeout comes first, since its answer says more; the watchdog is for when no answer comes.
_GRACE_S = 5.0
_KEEPALIVES = {"keepalives": 1, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class Session:
    """A connection and its watchdog: whatever talks to the server does so inside `talking()`.

    `undone` says in an error what became of the work that it ended.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        target: Target,
        settings: RetailSettings,
        undone: str = "nothing was loaded",
    ) -> None:
        self.undone = undone
        self.connection = connection
        self.target = target
        self.limit_s = settings.retail_statement_timeout_s
        self.watchdog = Watchdog(connection, self.limit_s + min(_GRACE_S, self.limit_s))

    @contextmanager
    def talking(self, doing: str) -> Iterator[None]:
        """Bound the waits of this block, and say its errors in our words: `doing` is what was tried."""
        failure: DatabaseError
        cause: BaseException | None
        try:
            with self.watchdog.watching():
                yield
        except psycopg.Error as error:
            failure = self._say(error, doing)
            failure.sqlstate = error.sqlstate
            # Errors of a running session name tables and rows, not credentials; make sure all the same.
            cause = error if self.target.scrub(str(error)) == " ".join(str(error).split()) else None
        else:
            return
        raise failure from cause

    def _say(self, error: psycopg.Error, doing: str) -> DatabaseError:
        reason = self.target.scrub(str(error))
        where = f"while {doing} (at {self.target})"
        if self.watchdog.bitten:
            return DatabaseTimeoutError(
                f"{where}: the database or the network to it was silent for {self.watchdog.limit_s:g} s; "
                f"{self.undone}; check both, or raise PREMORTEM_RETAIL_STATEMENT_TIMEOUT_S"
            )
        known = self._known(error, where, reason)
        if known is not None:
            return known
        if self.connection.closed or self.connection.broken:
            return DatabaseUnreachableError(
                f"{where}: the connection broke ({reason}); {self.undone}; check the server, run it again"
            )
        return DatabaseError(f"{where}: the database refused ({reason}); {self.undone}")

    def _known(self, error: psycopg.Error, where: str, reason: str) -> DatabaseError | None:
        match error:
            case errors.QueryCanceled():
                return DatabaseTimeoutError(
                    f"{where}: took longer than {self.limit_s:g} s ({reason}); {self.undone}; look for a lock or "
                    "an overloaded server, or raise PREMORTEM_RETAIL_STATEMENT_TIMEOUT_S"
                )
            case errors.DiskFull():
                return DatabaseError(f"{where}: the database's disk is full ({reason}); {self.undone}; make room")
            case errors.InsufficientPrivilege():
                return DatabaseAccessError(
                    f"{where}: this user may not ({reason}); have schema bronze created for it, or grant it the rights"
                )
            case (
                errors.SerializationFailure()
                | errors.DeadlockDetected()
                | errors.LockNotAvailable()
                | errors.StatementCompletionUnknown()
            ):
                return DatabaseBusyError(f"{where}: got in the way of others ({reason}); {self.undone}; run it again")
            case _:
                return None

    def close(self) -> None:
        """Let go; an open transaction is rolled back by the server."""
        self.watchdog.stop()
        self.connection.close()


@contextmanager
def connect(target: Target, settings: RetailSettings) -> Iterator[Session]:
    """A session on `target`, closed at the end; raises one of the `DatabaseError`s."""
    session = open_session(target, settings)
    try:
        yield session
    finally:
        session.close()


def open_session(target: Target, settings: RetailSettings, undone: str = "nothing was loaded") -> Session:
    """A session on `target`; raises one of the `DatabaseError`s."""
    session = Session(_open(target, settings), target, settings, undone)
    try:
        with session.talking("setting the timeouts"):
            timeout = f"{int(settings.retail_statement_timeout_s * 1000)}ms"
            session.connection.execute(
                "select set_config(name, %s, false) from unnest(array['statement_timeout',"
                " 'idle_in_transaction_session_timeout']) as name",
                [timeout],
            )
            session.connection.commit()
    except BaseException:
        session.close()
        raise
    return session


def _open(target: Target, settings: RetailSettings) -> psycopg.Connection:
    options: dict[str, str | int | None] = {
        **_KEEPALIVES,
        "tcp_user_timeout": int(settings.retail_statement_timeout_s * 1000),
        "application_name": "premortem-retail",
        **conninfo.conninfo_to_dict(target.url.reveal()),
        "connect_timeout": settings.retail_connect_timeout_s,
    }
    failure: DatabaseError
    try:
        return psycopg.connect(conninfo.make_conninfo("", **options))
    except errors.ConnectionTimeout:
        failure = DatabaseTimeoutError(
            f"{target}: no answer within {settings.retail_connect_timeout_s} s; check that host and port are right "
            "and that no firewall swallows it, or raise PREMORTEM_RETAIL_CONNECT_TIMEOUT_S"
        )
    except psycopg.Error as error:
        failure = _refusal(target, target.scrub(str(error)))
    # Out of the handler: the error of libpq, which holds the connection's parameters, is not chained.
    raise failure


def _refusal(target: Target, reason: str) -> DatabaseError:
    if re.search(r"starting up|shutting down|recovery|too many (connections|clients)|connection slots", reason):
        return DatabaseBusyError(f"{target}: takes no sessions just now ({reason}); run it again in a while")
    # During the handshake libpq gives no SQLSTATE; that the server answered shows in the severity of its message.
    if re.search(r"\b(FATAL|ERROR|PANIC)\b|password", reason):
        return DatabaseAccessError(
            f"{target}: the database refused ({reason}); check user, password and database in the URL"
        )
    return DatabaseUnreachableError(
        f"{target}: cannot be reached ({reason}); is the server up, and are host and port right?"
    )
