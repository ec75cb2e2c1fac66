"""What every store on a session passes on to it: its name, whose transaction it is in, and the end."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar


class _Session(Protocol):
    @property
    def transactional(self) -> bool: ...

    def close(self) -> None: ...


S = TypeVar("S", bound=_Session)


class OnSession(Generic[S]):
    """A store on `session`, which its class makes."""

    def __init__(self, session: S) -> None:
        self._session = session

    def __repr__(self) -> str:
        return repr(self._session)

    @property
    def transactional(self) -> bool:
        """Whether what is written is part of the caller's transaction."""
        return self._session.transactional

    def close(self) -> None:
        """Close the connection, if it is the session's own."""
        self._session.close()
