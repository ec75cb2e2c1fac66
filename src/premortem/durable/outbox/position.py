"""How far a lane has come: between two snapshots of the database, up to an id.

A poller of "id above the last" loses what commits late, since ids are given before the commit (a third of all messages
when measured); one that waits for the oldest transaction loses none, and stands still as long as that one does. This is
the third way, that of PgQ (Marko Kreen, Skype, 2007): a *window* is all that is visible in one snapshot and was not in
the snapshot before it. Every commit is in exactly one window; who commits late is in a late window; nobody is waited
for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Position:
    """As a row of outbox_progress: `done` and `upto` are snapshots in PostgreSQL's spelling, "10:20:10,14"."""

    done: str
    floor: int
    upto: str | None = None
    upto_floor: int = 0
    last: int = 0

    def opened(self, snapshot: str, floor: int) -> Position:
        """The window from here to `snapshot` begins."""
        return replace(self, upto=snapshot, upto_floor=floor, last=0)

    def reached(self, last: int) -> Position:
        """Within the window, all is done up to this id."""
        return replace(self, last=last)

    def closed(self) -> Position:
        """The window is done, and the next one begins where it ends."""
        assert self.upto is not None
        return Position(self.upto, self.upto_floor)
