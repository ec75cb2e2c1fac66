"""The databases of one run on one server: named after the run, claimed by a lock, swept when it is gone.

Laws: a run holds a session advisory lock for its id before it makes its first database and as long as it lives,
so a database of ours without that lock belongs to nobody any more; only names `premortem_run_*` are ever dropped.
Advisory locks belong to the database of the session, so whether one is held is read from pg_locks, which shows
all. A connection pooler in transaction mode between us and the server breaks this: give the server's own URL.
"""

from __future__ import annotations

import re
import secrets
import threading
from typing import TYPE_CHECKING, Self

from premortem.events import emit
from premortem.servers import databases

if TYPE_CHECKING:
    import psycopg

PREFIX = "premortem_run_"
LOCK_CLASS = 0x5072_6D74  # "Prmt": the first of the two keys, so that we meet nobody else's locks
OURS = re.compile(PREFIX + r"([0-9a-f]{8})_[a-z0-9_]+")


class RunDatabases:
    """Opening it claims a new run id and sweeps what killed runs have left; closing drops all that it made."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._lock = threading.Lock()
        self._made: set[str] = set()
        self.run_id = secrets.randbelow(2**31)
        self._session = self._claim()
        self.swept = self._sweep()
        """Names of the databases that killed runs had left here."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _claim(self) -> psycopg.Connection:
        session = databases.connect(self.admin_url)
        session.execute("SELECT pg_advisory_lock(%s::int4, %s::int4)", (LOCK_CLASS, self.run_id))
        return session

    def name(self, name: str) -> str:
        """The full name of this run's database `name` (40 characters at most)."""
        return databases.valid_name(f"{PREFIX}{self.run_id:08x}_{name}")

    def claim(self, name: str) -> str:
        """The full name of a database that somebody else will make, to be dropped with this run's others."""
        full = self.name(name)
        with self._lock:
            self._made.add(full)
        return full

    def release(self, full: str) -> None:
        """Drop a claimed database, whether it was made or not."""
        databases.drop(self.admin_url, full)
        with self._lock:
            self._made.discard(full)

    def create(self, name: str, template: str | None = None) -> str:
        """Make `name`; `template` is another `name` of this run. Returns the URL of the database."""
        full = self.name(name)
        with self._lock:
            self._renew()
            self._made.add(full)
        return databases.create(self.admin_url, full, self.name(template) if template else None)

    def drop(self, name: str) -> None:
        """Drop `name` with its sessions."""
        full = self.name(name)
        databases.drop(self.admin_url, full)
        with self._lock:
            self._made.discard(full)

    def _renew(self) -> None:
        """Claim again after the server has been restarted."""
        import psycopg  # noqa: PLC0415

        try:
            self._session.execute("SELECT 1")
        except psycopg.OperationalError:
            self._session.close()
            self._session = self._claim()

    def _sweep(self) -> tuple[str, ...]:
        names = self._session.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (PREFIX.replace("_", r"\_") + "%",)
        ).fetchall()
        # After the names: a run whose database is in the list had its lock before, or has ended since.
        alive = self._session.execute(
            "SELECT objid::int8 FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2",
            (LOCK_CLASS,),
        ).fetchall()
        living = {int(row[0]) for row in alive}
        swept = []
        for (name,) in names:
            match = OURS.fullmatch(name)
            if match and int(match[1], 16) not in living and self._dropped(name):
                swept.append(name)
        return tuple(swept)

    def _dropped(self, name: str) -> bool:
        import psycopg  # noqa: PLC0415

        try:
            databases.drop(self.admin_url, name)
        except psycopg.Error as error:  # not the owner, or the server is gone: the next run tries again
            emit("database.left", database=name, reason=str(error))
            return False
        return True

    def close(self) -> None:
        """Drop what this run made and free its id; what cannot be dropped now is swept by a later run."""
        with self._lock:
            for name in sorted(self._made):
                self._dropped(name)
            self._made.clear()
            self._session.close()
