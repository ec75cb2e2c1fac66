"""One worker of a run: file after file, chunk after chunk, through whatever the database does meanwhile."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

import premortem
from premortem.events import emit
from premortem.policies import Backoff, Deadline, Policy, Retry, RetryBudget
from premortem.ports import Clock
from premortem.systems.retail import content, progress
from premortem.systems.retail.chunk import Committed, load_chunk
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.errors import (
    CommitUnknownError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseTimeoutError,
    DatabaseUnreachableError,
    SourceError,
    StaleClaimError,
    TooManyDeadError,
)
from premortem.systems.retail.load import prepare
from premortem.systems.retail.pieces import Pieces, open_pieces
from premortem.systems.retail.progress import Claim
from premortem.systems.retail.ready import Preparation, Ready, ahead
from premortem.systems.retail.settings import RetailSettings
from premortem.systems.retail.target import Target

T = TypeVar("T")
Sameness = Literal["file", "content"]
State = Literal["loaded", "known", "failed"]
TRANSIENT = (DatabaseUnreachableError, DatabaseTimeoutError, DatabaseBusyError, CommitUnknownError)
# A file that is taken over again and again has workers that kill each other: somebody has to look.
_TAKEOVERS = 10


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file: `read == loaded + dead + known`, counted over all runs; `chunks` of this run.

    "known" is a file that was loaded to its end before; `known` rows were there by content. `resumed` where this run
    went on from another's chunks.
    """

    source: str
    sha256: str
    state: State
    batch: int
    read: int
    loaded: int
    dead: int
    known: int
    chunks: int
    resumed: bool
    seconds: float
    error: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manner:
    """How files are loaded: which sheet, what makes rows the same, by whom, and by whose clock."""

    sheet: str | None
    by: Sameness
    owner: str
    clock: Clock


class Todo:
    """The files that nobody of this process has begun, and the reports of those that are done."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = deque(enumerate(files))
        self._lock = threading.Lock()
        self._done: dict[int, FileReport] = {}

    def take(self) -> tuple[int, Path] | None:
        """The next file, if there is one."""
        with self._lock:
            return self._files.popleft() if self._files else None

    def stop(self) -> None:
        """A worker failed for good: the others end what they have begun."""
        with self._lock:
            self._files.clear()

    def finish(self, number: int, report: FileReport) -> None:
        """A file is done with."""
        with self._lock:
            self._done[number] = report

    def reports(self) -> tuple[FileReport, ...]:
        """In the order in which the files were given."""
        with self._lock:
            return tuple(self._done[number] for number in sorted(self._done))


@dataclass(slots=True)
class _Load:
    """One file on its way."""

    source: str
    began: float
    sha256: str = ""
    claim: Claim | None = None
    chunks: int = 0
    resumed: bool = False
    error: str = ""
    warnings: list[str] = field(default_factory=list)

    def report(self, now: float) -> FileReport:
        claim = self.claim
        state: State = "failed" if self.error else "loaded" if self.chunks else "known"
        counts = (claim.batch, claim.read, claim.loaded, claim.dead, claim.known) if claim else (0, 0, 0, 0, 0)
        rest = (self.chunks, self.resumed, now - self.began, self.error, tuple(self.warnings))
        return FileReport(self.source, self.sha256, state, *counts, *rest)


class Worker:
    """A session, and the files that are done with it one after the other; what others are at comes last."""

    def __init__(self, target: Target, settings: RetailSettings, manner: Manner, todo: Todo) -> None:
        self._target, self._settings, self._manner, self._todo = target, settings, manner, todo
        self._session: Session | None = None
        self._locked = ""  # the hash of the file whose lock the session has to hold
        self._prepared = False
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

    def work(self) -> None:
        """Load until nothing is left to do; raises a `DatabaseError` where trying again did not help."""
        later: deque[tuple[int, Path]] = deque()
        try:
            while task := self._todo.take():
                if not self._file(*task, wait=False):
                    later.append(task)
            for number, path in later:
                for _ in range(_TAKEOVERS):
                    if self._file(number, path, wait=True):
                        break
                else:
                    self._give_up(number, path)
        except BaseException:
            self._todo.stop()
            raise
        finally:
            self._drop_session()

    def _now(self) -> float:
        return self._manner.clock.monotonic()

    def _file(self, number: int, path: Path, *, wait: bool) -> bool:
        """Whether the file is done with; False where another worker has it, or has taken it over."""
        load = _Load(path.name, self._now())
        try:
            with open_pieces(path, self._manner.sheet) as pieces:
                load.source, load.sha256 = pieces.name, pieces.sha256
                with self._lock(pieces, wait=wait) as ours:
                    if not ours:
                        return False
                    self._load(pieces, load)
        except SourceError as error:
            load.error = str(error)
        except StaleClaimError as error:
            emit("retail.warning", text=str(error))
            return False
        self._todo.finish(number, load.report(self._now()))
        return True

    def _give_up(self, number: int, path: Path) -> None:
        load = _Load(path.name, self._now())
        load.error = (
            f"{path.name}: other workers have had it for {self._settings.retail_wait_s:g} s, or took it over "
            f"{_TAKEOVERS} times; see `premortem retail status` for their names, end them, or raise "
            "PREMORTEM_RETAIL_WAIT_S"
        )
        self._todo.finish(number, load.report(self._now()))

    def _load(self, pieces: Pieces, load: _Load) -> None:
        claim = load.claim = self._guarded(lambda: self._claim(pieces))
        load.resumed = claim.begin is not None
        state = "complete" if claim.complete else "resumed" if load.resumed else "begun"
        emit("retail.file", source=pieces.name, batch=claim.batch, state=state, rows=claim.read)
        if not claim.complete:
            made = Preparation(pieces, claim, self._settings, by_content=self._manner.by == "content")
            with ahead(made.all()) as chunks:
                for ready in chunks:
                    self._refuse_dead(pieces.name, claim, ready)
                    done = self._guarded(partial(self._chunk, claim, ready))
                    claim = load.claim = claim.after(done.chunk, done.seal)
                    load.chunks += 1
                    load.warnings += ready.warnings
                    _tell(pieces, claim, ready)
        load.warnings = [*pieces.warnings, *load.warnings]

    def _claim(self, pieces: Pieces) -> Claim:
        session = self._ready()
        claim = progress.claim(session, pieces, self._manner.owner, self._manner.by, self._manner.clock.now())
        if self._manner.by == "content" and not claim.complete:
            content.key_earlier(session, claim.batch)
        return claim

    def _chunk(self, claim: Claim, ready: Ready) -> Committed:
        return load_chunk(self._ready(), claim, ready, premortem.__version__)

    def _refuse_dead(self, name: str, claim: Claim, ready: Ready) -> None:
        dead, read = claim.dead + ready.dead.height, claim.read + ready.read
        if dead <= self._settings.retail_max_dead_share * read:
            return
        reasons = ", ".join(f"{rule} {count}" for rule, count in ready.dead_by_rule[:3])
        first = ready.dead.row(0, named=True) if ready.dead.height else {}
        raise TooManyDeadError(
            f"{name}: {dead} of the first {read} rows ({dead / read:.1%}) break a rule (in chunk {ready.begin.chunk}: "
            f"{reasons}; first in row {first.get('source_row')}: {first.get('column_name')} is "
            f"{first.get('value')!r}), "
            f"more than the {self._settings.retail_max_dead_share:.1%} allowed; nothing was loaded from row "
            f"{ready.begin.row} on; check the file, or raise PREMORTEM_RETAIL_MAX_DEAD_SHARE and run again",
            read=read,
            dead=dead,
        )

    @contextmanager
    def _lock(self, pieces: Pieces, *, wait: bool) -> Iterator[bool]:
        """Whether the file is ours inside this block."""
        if not self._get_lock(pieces, wait=wait):
            yield False
            return
        self._locked = pieces.sha256
        try:
            yield True
        finally:
            self._locked = ""
            self._unlock(pieces)

    def _get_lock(self, pieces: Pieces, *, wait: bool) -> bool:
        if self._guarded(lambda: progress.try_lock(self._ready(), pieces.sha256)):
            return True
        if wait:
            emit("retail.waiting", source=pieces.name)
        until = self._now() + self._settings.retail_wait_s
        while wait and self._now() < until:
            with suppress(DatabaseTimeoutError):  # a statement may take only so long: ask again
                if progress.try_lock(self._ready(), pieces.sha256, wait=True):
                    return True
            self._drop_session()
        return False

    def _unlock(self, pieces: Pieces) -> None:
        session = self._session
        if session is None:
            return
        try:
            progress.unlock(session, pieces.sha256)
        except DatabaseError:
            self._drop_session()  # which gives it back, too

    def _guarded(self, what: Callable[[], T]) -> T:
        """`what`, tried again where that may help."""

        def attempt() -> T:
            try:
                return what()
            except DatabaseBusyError:
                raise
            except DatabaseError:
                self._drop_session()  # nobody knows what state it is in
                raise

        return self._policy.call(attempt)

    def _ready(self) -> Session:
        """A session that holds the lock of our file: the one that we have, or a new one."""
        session = self._session
        if session is not None and not session.connection.closed:
            return session
        self._drop_session()
        session = open_session(self._target, self._settings, "what was not committed was rolled back")
        try:
            self._set_up(session)
        except BaseException:
            session.close()
            raise
        self._session = session
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
        if self._locked:
            # Our session of before may live on in the server for a moment, with the lock and an open COMMIT.
            progress.try_lock(session, self._locked, wait=True)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _tell(pieces: Pieces, claim: Claim, ready: Ready) -> None:
    emit(
        "retail.chunk",
        source=pieces.name,
        batch=claim.batch,
        chunk=ready.begin.chunk,
        rows=claim.read,
        loaded=claim.loaded,
        dead=claim.dead,
        known=claim.known,
        share=ready.end.offset / max(1, pieces.size),
    )
    for warning in ready.warnings:
        emit("retail.warning", text=warning)
