"""Who loads a file, and how far it is: a row a file says who may write, a row a chunk says what was written.

Laws:
- A chunk's row is written in the transaction that loads its rows, so there is no moment at which one is there
  without the other. Nothing about progress is kept anywhere else.
- A file belongs to the session that holds its advisory lock, which the server gives back when that session dies; no
  clock is asked. That is politeness, not safety: safe is the epoch, which each claim raises and each chunk checks.
- The rows of the chunks are sealed in a chain. Where one was changed by hand or is missing, the chunks from there on
  are taken out again, rows and all, and loaded anew: the last good state, said aloud (`retail.progress_damaged`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from datetime import datetime

from psycopg.rows import class_row, tuple_row

from premortem.events import emit
from premortem.systems.retail.database import Session
from premortem.systems.retail.errors import StaleClaimError
from premortem.systems.retail.load import commit
from premortem.systems.retail.pieces import Pieces, Position


@dataclass(frozen=True, slots=True)
class Chunk:
    """A chunk as its row tells it: from where to where, in the file's offsets and rows, and what became of it."""

    chunk: int
    begin_at: int
    end_at: int
    begin_row: int
    end_row: int
    rows_read: int
    rows_loaded: int
    rows_dead: int
    rows_known: int
    epoch: int
    owner: str
    code: str
    rules: str

    def seal(self, before: str, batch: int) -> str:
        """The SHA-256 that this row has to carry, after a row that carries `before`."""
        told = "\0".join(map(str, (before, batch, *astuple(self))))
        return hashlib.sha256(told.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to load a file, until somebody else claims it. `begin` is None at the first row."""

    batch: int
    epoch: int
    owner: str
    begin: Position | None
    seal: str
    started: datetime
    read: int = 0
    loaded: int = 0
    dead: int = 0
    known: int = 0
    complete: bool = False

    def after(self, chunk: Chunk, seal: str) -> Claim:
        """The claim when `chunk` is committed."""
        return replace(
            self,
            seal=seal,
            read=self.read + chunk.rows_read,
            loaded=self.loaded + chunk.rows_loaded,
            dead=self.dead + chunk.rows_dead,
            known=self.known + chunk.rows_known,
        )


def try_lock(session: Session, sha256: str, *, wait: bool = False) -> bool:
    """Whether the file is ours to claim now; `wait` for it as long as a statement may take."""
    key = int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True)
    function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
    with session.talking("waiting for the file" if wait else "looking whether another worker has the file"):
        row = session.connection.execute(f"select {function}(%s)".encode(), [key]).fetchone()
        session.connection.commit()
    return wait or row == (True,)


def unlock(session: Session, sha256: str) -> None:
    """Give the file back."""
    key = int.from_bytes(bytes.fromhex(sha256)[:8], "big", signed=True)
    with session.talking("giving the file back"):
        session.connection.execute("select pg_advisory_unlock(%s)", [key])
        session.connection.commit()


def claim(session: Session, pieces: Pieces, owner: str, sameness: str, now: datetime) -> Claim:
    """Claim the file, whose lock we hold, and find out how far it is; `complete` where there is nothing to do."""
    with session.talking("claiming the file"):
        batch, started, complete, read = _batch(session, pieces, now)
        row = session.connection.execute("select chunks from bronze.claims where batch = %s", [batch]).fetchone()
        if complete and row is None:  # loaded by `ingest`, in one transaction
            session.connection.commit()
            return _summed(session, Claim(batch, 0, owner, None, "", started, complete=True))
        good, seal = _good(session, batch, pieces.sha256)
        there = session.connection.execute("select count(*) from bronze.chunks where batch = %s", [batch]).fetchone()
        sound = there == (len(good),) and (row or (0,)) == there and read == sum(chunk.rows_read for chunk in good)
        if complete and sound:
            session.connection.commit()
            return _summed(session, Claim(batch, 0, owner, None, seal, started, complete=True))
        epoch = _raise_epoch(session, batch, pieces, owner, sameness)
        if not sound:
            _take_back(session, batch, good)
    commit(session, batch, "run it again: it goes on where it was")
    last = good[-1] if good else None
    begin = Position(last.chunk + 1, last.end_at, last.end_row) if last else None
    return _summed(session, Claim(batch, epoch, owner, begin, seal, started))


def parts_of(session: Session, name: str, mine: int) -> list[tuple[int, int]]:
    """Other batches of a file of this name that are there in part: their number, and how many rows they have."""
    with session.talking("looking for parts of the file"):
        rows = session.connection.execute(
            "select id, rows_loaded from bronze.batches where source_file = %s and id <> %s and not complete"
            " and rows_loaded > 0 order by id",
            [name, mine],
        ).fetchall()
        session.connection.commit()
    return [(int(batch), int(loaded)) for batch, loaded in rows]


def hold(session: Session, mine: Claim) -> None:
    """Refuse to go on where the claim is another's by now; raises `StaleClaimError`."""
    with session.talking("looking after the claim"):
        row = session.connection.execute(
            "select epoch, owner from bronze.claims where batch = %s", [mine.batch]
        ).fetchone()
        session.connection.commit()
    if row is None or row[0] != mine.epoch:
        raise stale(mine, row[1] if row else "nobody")


def stale(mine: Claim, owner: str) -> StaleClaimError:
    """The error of a worker that was too slow."""
    return StaleClaimError(
        f"batch {mine.batch}: {mine.owner} had claimed it (epoch {mine.epoch}), and {owner} has it now; "
        "nothing was written since; run it again: it waits for the other, or goes on where that one died"
    )


def chunks_of(session: Session, batch: int) -> list[tuple[Chunk, str]]:
    """The chunks of a batch with their seals, as they stand in the database."""
    with session.connection.cursor(row_factory=class_row(Chunk)) as cursor:
        chunks = cursor.execute(
            "select chunk, begin_at, end_at, begin_row, end_row, rows_read, rows_loaded, rows_dead, rows_known, epoch,"
            " owner, code, rules from bronze.chunks where batch = %s order by chunk",
            [batch],
        ).fetchall()
    seals = session.connection.cursor(row_factory=tuple_row).execute(
        "select seal from bronze.chunks where batch = %s order by chunk", [batch]
    )
    return list(zip(chunks, [str(seal) for (seal,) in seals], strict=True))


def sound_part(chunks: Sequence[tuple[Chunk, str]], batch: int, sha256: str) -> tuple[list[Chunk], str]:
    """The chunks up to the first one that was changed or is missing, and the last seal (at first the file's hash)."""
    good: list[Chunk] = []
    seal = sha256
    for number, (chunk, said) in enumerate(chunks):
        follows = not good or (good[-1].end_at, good[-1].end_row) == (chunk.begin_at, chunk.begin_row)
        if chunk.chunk != number or not follows or chunk.seal(seal, batch) != said:
            break
        good.append(chunk)
        seal = said
    return good, seal


def _good(session: Session, batch: int, sha256: str) -> tuple[list[Chunk], str]:
    return sound_part(chunks_of(session, batch), batch, sha256)


def _batch(session: Session, pieces: Pieces, now: datetime) -> tuple[int, datetime, bool, int]:
    """The file's batch; where an ingest of the same bytes is about to commit, this waits for it."""
    session.connection.execute(
        "insert into bronze.batches (source_file, sha256, complete, rows_read, rows_loaded, rows_dead, started_at,"
        " finished_at) values (%s, %s, false, 0, 0, 0, %s, %s) on conflict (sha256) where not again do nothing",
        [pieces.name, pieces.sha256, now, now],
    )
    row = session.connection.execute(
        "select id, started_at, complete, rows_read from bronze.batches where sha256 = %s order by again, id limit 1",
        [pieces.sha256],
    ).fetchone()
    assert row is not None
    return int(row[0]), row[1], bool(row[2]), int(row[3])


def _raise_epoch(session: Session, batch: int, pieces: Pieces, owner: str, sameness: str) -> int:
    row = session.connection.execute(
        "insert into bronze.claims as c (batch, file_bytes, sameness, epoch, owner, chunks, claimed_at, changed_at)"
        " values (%s, %s, %s, 1, %s, 0, clock_timestamp(), clock_timestamp())"
        " on conflict (batch) do update set epoch = c.epoch + 1, owner = excluded.owner,"
        " claimed_at = excluded.claimed_at returning epoch",
        [batch, pieces.size, sameness, owner],
    ).fetchone()
    assert row is not None
    return int(row[0])


def _take_back(session: Session, batch: int, good: Sequence[Chunk]) -> None:
    """Leave of the batch what its sound chunks brought."""
    end_row = good[-1].end_row if good else 0
    emit("retail.progress_damaged", batch=batch, sound=len(good), from_row=end_row)
    execute = session.connection.execute
    execute("delete from bronze.raw_transactions where batch = %s and source_row >= %s", [batch, end_row])
    execute("delete from bronze.dead_letters where batch = %s and source_row >= %s", [batch, end_row])
    execute("delete from bronze.chunks where batch = %s and chunk >= %s", [batch, len(good)])
    execute("update bronze.claims set chunks = %s where batch = %s", [len(good), batch])
    sums = [sum(getattr(chunk, f"rows_{name}") for chunk in good) for name in ("read", "loaded", "dead", "known")]
    execute(
        "update bronze.batches set rows_read = %s, rows_loaded = %s, rows_dead = %s, rows_known = %s, complete = false"
        " where id = %s",
        [*sums, batch],
    )
    # The keys of what was taken back would make the same rows look known: they are made anew when they are needed.
    execute("delete from bronze.content_keys")
    execute("delete from bronze.keyed_batches")


def _summed(session: Session, made: Claim) -> Claim:
    with session.talking("looking how far the file is"):
        row = session.connection.execute(
            "select rows_read, rows_loaded, rows_dead, rows_known from bronze.batches where id = %s", [made.batch]
        ).fetchone()
        session.connection.commit()
    assert row is not None
    read, loaded, dead, known = map(int, row)
    return replace(made, read=read, loaded=loaded, dead=dead, known=known)
