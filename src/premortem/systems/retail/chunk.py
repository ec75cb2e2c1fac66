"""One chunk of a file into PostgreSQL: rows, dead letters and progress in one transaction.

Laws:
- The first statement asks whether the file is still ours, and holds its row until the commit; a worker that was
  overtaken writes nothing.
- The database counts, and its counts are held against what was read before the commit.
- A commit without an answer is no riddle: the next attempt finds the chunk's row, or does not.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from premortem.events import emit
from premortem.systems.retail import content
from premortem.systems.retail.copying import copy_in, encode
from premortem.systems.retail.database import Session
from premortem.systems.retail.errors import LostRowsError
from premortem.systems.retail.load import commit
from premortem.systems.retail.progress import Chunk, Claim, chunks_of, hold, stale
from premortem.systems.retail.ready import Ready

GOOD = sql.Identifier("bronze", "raw_transactions")
DEAD = sql.Identifier("bronze", "dead_letters")
_RECORD = """
with counted as (
    update bronze.batches set rows_read = rows_read + %(rows_read)s, rows_loaded = rows_loaded + %(rows_loaded)s,
        rows_dead = rows_dead + %(rows_dead)s, rows_known = rows_known + %(rows_known)s, complete = %(complete)s,
        finished_at = clock_timestamp()
    where id = %(batch)s
)
insert into bronze.chunks (batch, chunk, begin_at, end_at, begin_row, end_row, rows_read, rows_loaded, rows_dead,
    rows_known, epoch, owner, code, rules, committed_at, seal)
values (%(batch)s, %(chunk)s, %(begin_at)s, %(end_at)s, %(begin_row)s, %(end_row)s, %(rows_read)s, %(rows_loaded)s,
    %(rows_dead)s, %(rows_known)s, %(epoch)s, %(owner)s, %(code)s, %(rules)s, clock_timestamp(), %(seal)s)
"""


@dataclass(frozen=True, slots=True)
class Committed:
    """What the chunk came to; `before` where an earlier attempt had committed it, unheard."""

    chunk: Chunk
    seal: str
    before: bool


def load_chunk(session: Session, claim: Claim, ready: Ready, code: str) -> Committed:
    """The chunk, committed; raises a `DatabaseError`, or `StaleClaimError` where another worker has the file."""
    with session.talking("clearing up after an attempt that failed"):
        session.connection.rollback()
    if not _ours(session, claim, ready.begin.chunk):
        return _found(session, claim, ready.begin.chunk)
    if ready.keys is not None and not content.has_keys(session, claim.batch):  # somebody has withdrawn rows meanwhile
        with session.talking("making the keys anew"):
            session.connection.rollback()
        content.key_earlier(session, claim.batch)
        return load_chunk(session, claim, ready, code)
    good, data, known = ready.good, ready.good_data, 0
    if ready.keys is not None:
        new = content.admit(session, ready.keys)
        if new is not None:
            known = good.height - new.len()
            good = good[new]
            data = encode(good)
    loaded = copy_in(session, GOOD, good.columns, data) if good.height else 0
    dead = copy_in(session, DEAD, ready.dead.columns, ready.dead_data) if ready.dead.height else 0
    if (loaded, dead) != (good.height, ready.dead.height) or loaded + dead + known != ready.read:
        raise LostRowsError(
            f"chunk {ready.begin.chunk} of batch {claim.batch}: {ready.read} rows were read, and the database counted "
            f"{loaded} loaded, {known} known and {dead} dead; the chunk was rolled back; please report this as a bug"
        )
    chunk = _row(claim, ready, (loaded, dead, known), code)
    seal = chunk.seal(claim.seal, claim.batch)
    with session.talking("writing down the chunk"):
        values = {name: getattr(chunk, name) for name in Chunk.__slots__}
        session.connection.execute(_RECORD, {**values, "batch": claim.batch, "complete": ready.last, "seal": seal})
    emit("retail.committing", batch=claim.batch)
    commit(session, claim.batch, "run it again: it goes on where it was")
    return Committed(chunk, seal, before=False)


def _ours(session: Session, claim: Claim, number: int) -> bool:
    with session.talking(f"opening chunk {number} (another worker may be writing it)"):
        cursor = session.connection.execute(
            "update bronze.claims set chunks = chunks + 1, changed_at = clock_timestamp()"
            " where batch = %s and epoch = %s and chunks = %s",
            [claim.batch, claim.epoch, number],
        )
    return cursor.rowcount == 1


def _found(session: Session, claim: Claim, number: int) -> Committed:
    """The chunk that an earlier attempt of ours has committed, without hearing so."""
    with session.talking("looking for the chunk"):
        session.connection.rollback()
    hold(session, claim)
    with session.talking("looking for the chunk"):
        chunks = chunks_of(session, claim.batch)
        session.connection.rollback()
    if len(chunks) != number + 1:
        raise stale(claim, "a hand that changed bronze.claims")
    emit("retail.commit_found", batch=claim.batch, chunk=number)
    return Committed(*chunks[number], before=True)


def _row(claim: Claim, ready: Ready, counts: tuple[int, int, int], code: str) -> Chunk:
    begin, end = ready.begin, ready.end
    places = (begin.chunk, begin.offset, end.offset, begin.row, end.row)
    return Chunk(*places, ready.read, *counts, claim.epoch, claim.owner, code, ready.rules)
