"""A session that is there when it is needed: opened anew where it broke, and what failed by chance tried again.

Law: a new session holds what the old one held. The lock of the file is asked for before anything else is said.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from premortem.policies import Backoff, Deadline, Policy, Retry, RetryBudget
from premortem.systems.retail import progress
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.errors import (
    CommitUnknownError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnreachableError,
)
from premortem.systems.retail.load import prepare
from premortem.systems.retail.settings import RetailSettings
from premortem.systems.retail.target import Target

T = TypeVar("T")
TRANSIENT = (DatabaseUnreachableError, DatabaseTimeoutError, DatabaseBusyError, CommitUnknownError)


class Line:
    """One session at a time to `target`. `locked` is the hash of the file whose lock it has to hold, or empty."""

    def __init__(self, target: Target, settings: RetailSettings) -> None:
        self._target, self._settings = target, settings
        self._session: Session | None = None
        self._coming: Future[Session] | None = None
        self._prepared = False
        self.locked = ""
        self._policy = Policy(
            "retail-database",
            Deadline(settings.retail_chunk_deadline_s, interrupt=False),
            Retry(
                settings.retail_attempts,
                on=TRANSIENT,
                wait=Backoff(0.05, cap_s=5),
                budget=RetryBudget(share=0.2, floor_per_s=2),
            ),
        )

    def guarded(self, what: Callable[[], T]) -> T:
        """`what`, tried again where that may help."""

        def attempt() -> T:
            try:
                return what()
            except DatabaseBusyError:
                raise
            except DatabaseError:
                self.drop()  # nobody knows what state it is in
                raise

        return self._policy.call(attempt)

    def session(self) -> Session:
        """A session that holds the lock of our file: the one that we have, or a new one."""
        session = self._session
        if session is not None and not session.connection.closed:
            return session
        coming, self._coming = self._coming, None
        if coming is None:
            self.drop()
            self._session = self._open()
        else:
            self._session = coming.result()
        return self._session

    def begin(self) -> None:
        """Open a session in the background, while a file is looked at; what goes wrong is told when it is asked for."""
        coming = self._coming = Future[Session]()

        def open_it() -> None:
            try:
                coming.set_result(self._open())
            except BaseException as error:  # noqa: BLE001 - raised by `session`
                coming.set_exception(error)

        threading.Thread(target=open_it, name="retail-connect", daemon=True).start()

    def _open(self) -> Session:
        session = open_session(self._target, self._settings, "what was not committed was rolled back")
        try:
            self._set_up(session)
        except BaseException:
            session.close()
            raise
        return session

    def _set_up(self, session: Session) -> None:
        with session.talking("setting the timeouts"):
            # A worker that stands still must not keep a file for ever: the server ends its session.
            idle_s = max(self._settings.retail_chunk_deadline_s, self._settings.retail_statement_timeout_s)
            session.connection.execute(
                "select set_config(name, %s, false) from pg_settings where name = 'idle_session_timeout'",
                [f"{int(idle_s * 1000)}ms"],
            )
            session.connection.commit()
        if not self._prepared:
            prepare(session)
            self._prepared = True
        if self.locked:
            # Our session of before may live on in the server for a moment, with the lock and an open COMMIT.
            progress.try_lock(session, self.locked, wait=True)

    def drop(self) -> None:
        """Close it; the server gives back what it held."""
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.add_done_callback(_close)
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def unlock(self) -> None:
        """Give the file back, if there is a session that may have it."""
        sha256, self.locked = self.locked, ""
        if self._session is None:
            return
        try:
            progress.unlock(self._session, sha256)
        except DatabaseError:
            self.drop()  # which gives it back, too


def _close(made: Future[Session]) -> None:
    if made.exception() is None:
        made.result().close()
