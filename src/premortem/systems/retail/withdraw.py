"""A batch taken out again, rows and all: the way back from a file that was wrong, or that came in part.

A corrected file has other bytes and is another file. What the wrong one brought is in bronze still, and beside it the
corrected one would bring the same lines a second time; by hand, rows, dead letters, progress and star are four places.

Laws:
- One transaction: a batch is there, or nothing of it is. A worker that stood still finds its claim gone, and stops.
- The star is told: the months of the rows are made anew by the next transformation.
- Rows that another file was not allowed to bring, because they were known by content, are not taken away under it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.load import commit, prepare
from premortem.systems.retail.progress import try_lock
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.target import parse_target

# Batches with known rows that began after one of ours, or went on after its first rows were there.
_LEANING = """
select k.id from bronze.batches k
where k.rows_known > 0 and k.id <> all (%(batches)s) and exists (
    select from bronze.batches w where w.id = any (%(batches)s) and w.rows_loaded > 0 and (
        k.id > w.id or k.finished_at >= coalesce(
            (select min(c.committed_at) from bronze.chunks c where c.batch = w.id), w.finished_at)
    )
) order by k.id
"""
_MONTHS = """
insert into bronze.withdrawn select distinct date_trunc('month', invoicedate)::date, now()
from bronze.raw_transactions where batch = any (%(batches)s)
on conflict (month) do update set at = excluded.at
"""
# The content keys of the rows that are left are made anew when somebody asks for them.
_TAKE_OUT = (
    _MONTHS,
    "delete from bronze.raw_transactions where batch = any (%(batches)s)",
    "delete from bronze.dead_letters where batch = any (%(batches)s)",
    "delete from bronze.chunks where batch = any (%(batches)s)",
    "delete from bronze.content_keys",
    "delete from bronze.keyed_batches",
    "delete from bronze.claims where batch = any (%(batches)s)",
    "delete from bronze.batches where id = any (%(batches)s)",
)


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A batch that is out: its file, and the rows and dead letters that went with it."""

    batch: int
    source: str
    loaded: int
    dead: int


def withdraw(
    batches: Sequence[int], url: str | None = None, settings: RetailSettings | None = None
) -> tuple[Withdrawn, ...]:
    """Take `batches` out of bronze, all of them or none; their files can then be loaded as if they had never been.

    Raises `ConfigurationError` where one is not there, is being loaded, or has rows that others count as known; else a
    `DatabaseError`.
    """
    settings = settings if settings is not None else read_settings(url)
    session = open_session(
        parse_target(url if url is not None else settings.postgres_url), settings, "nothing was withdrawn"
    )
    try:
        prepare(session)
        for sha256 in _hashes(session, batches):
            if not try_lock(session, sha256):
                raise ConfigurationError(
                    f"the file with sha256 {sha256[:12]} is being loaded just now; nothing was withdrawn; end its "
                    "worker (`premortem retail status` names it), or wait"
                )
        return _take_out(session, sorted(set(batches)))
    finally:
        session.close()


def _hashes(session: Session, batches: Sequence[int]) -> list[str]:
    with session.talking("looking for the batches"):
        rows = session.connection.execute(
            "select id, sha256 from bronze.batches where id = any (%s)", [list(batches)]
        ).fetchall()
        session.connection.commit()
    found = {int(batch): str(sha256) for batch, sha256 in rows}
    absent = [str(batch) for batch in batches if batch not in found]
    if absent or not batches:
        raise ConfigurationError(
            f"batch {', '.join(absent) or '(none)'}: is not there; nothing was withdrawn; `premortem retail status` "
            "lists those that are"
        )
    return sorted(set(found.values()))


def _take_out(session: Session, batches: list[int]) -> tuple[Withdrawn, ...]:
    with session.talking("withdrawing"):
        # Each chunk begins with an update of its claim: from here on none is open, and none counts rows as known.
        session.connection.execute("lock table bronze.claims, bronze.keyed_batches in share row exclusive mode")
        rows = session.connection.execute(
            "select b.id, b.source_file, (select count(*) from bronze.raw_transactions r where r.batch = b.id),"
            " (select count(*) from bronze.dead_letters d where d.batch = b.id)"
            " from bronze.batches b where b.id = any (%s) order by b.id",
            [batches],
        ).fetchall()
        leaning = session.connection.execute(_LEANING.encode(), {"batches": batches}).fetchall()
    if leaning:
        others = " ".join(str(batch) for (batch,) in leaning)
        raise ConfigurationError(
            f"batch {' '.join(map(str, batches))}: batches {others} were loaded by content and counted rows as known "
            "that may be of this one; nothing was withdrawn; withdraw them together, and run their files again"
        )
    with session.talking("withdrawing"):
        for statement in _TAKE_OUT:
            session.connection.execute(statement.encode(), {"batches": batches})
    commit(session, batches[0], "look at `premortem retail status`, and say it again if the batch is there")
    out = tuple(Withdrawn(int(batch), str(source), int(loaded), int(dead)) for batch, source, loaded, dead in rows)
    for one in out:
        emit("retail.withdrawn", batch=one.batch, source=one.source, loaded=one.loaded, dead=one.dead)
    return out
