"""One worker of a run: file after file, chunk after chunk, through whatever the database does meanwhile."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import premortem
from premortem.events import emit
from premortem.systems.retail import content, progress
from premortem.systems.retail.chunk import Committed, load_chunk
from premortem.systems.retail.errors import DatabaseTimeoutError, SourceError, StaleClaimError, TooManyDeadError
from premortem.systems.retail.line import Line
from premortem.systems.retail.pieces import Pieces, open_pieces
from premortem.systems.retail.progress import Claim
from premortem.systems.retail.ready import Preparation, Ready, ahead
from premortem.systems.retail.settings import RetailSettings
from premortem.systems.retail.source import name_of
from premortem.systems.retail.target import Target
from premortem.systems.retail.tasks import Load, Manner, Todo

# A file that is taken over again and again has workers that kill each other: somebody has to look.
_TAKEOVERS = 10


class Worker:
    """A session, and the files that are done with it one after the other; what others are at comes last."""

    def __init__(self, target: Target, settings: RetailSettings, manner: Manner, todo: Todo) -> None:
        self._settings, self._manner, self._todo = settings, manner, todo
        self._line = Line(target, settings)

    def work(self) -> None:
        """Load until nothing is left to do; raises a `DatabaseError` where trying again did not help."""
        later: deque[tuple[int, Path]] = deque()
        self._line.begin()
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
            self._line.drop()

    def _now(self) -> float:
        return self._manner.clock.monotonic()

    def _file(self, number: int, path: Path, *, wait: bool) -> bool:
        """Whether the file is done with; False where another worker has it, or has taken it over."""
        load = Load(name_of(path) or str(path), self._now())  # "." has no name
        try:
            with open_pieces(path, self._manner.sheet) as pieces:
                load.source, load.sha256 = pieces.name, pieces.sha256
                with self._lock(pieces, wait=wait) as ours:
                    if not ours:
                        return False
                    self._load(pieces, load)
        except SourceError as error:
            load.error = f"{error}{_left_behind(load.claim)}"
        except StaleClaimError as error:
            emit("retail.warning", text=str(error))
            return False
        self._todo.finish(number, load.report(self._now()))
        return True

    def _give_up(self, number: int, path: Path) -> None:
        load = Load(path.name, self._now())
        load.error = (
            f"{path.name}: other workers have had it for {self._settings.retail_wait_s:g} s, or took it over "
            f"{_TAKEOVERS} times; see `premortem retail status` for their names, end them, or raise "
            "PREMORTEM_RETAIL_WAIT_S"
        )
        self._todo.finish(number, load.report(self._now()))

    def _load(self, pieces: Pieces, load: Load) -> None:
        claim = load.claim = self._line.guarded(lambda: self._claim(pieces))
        load.resumed = claim.begin is not None
        state = "complete" if claim.complete else "resumed" if load.resumed else "begun"
        emit("retail.file", source=pieces.name, batch=claim.batch, state=state, rows=claim.read)
        if not claim.complete:
            load.warnings += self._line.guarded(lambda: self._parts(pieces, claim))
            made = Preparation(pieces, claim, self._settings, by_content=self._manner.by == "content")
            with ahead(made.all()) as chunks:
                for ready in chunks:
                    self._refuse_dead(pieces.name, claim, ready)
                    done = self._line.guarded(partial(self._chunk, claim, ready))
                    claim = load.claim = claim.after(done.chunk, done.seal)
                    load.chunks += 1
                    load.warnings += ready.warnings
                    _tell(pieces, claim, ready)
        load.warnings = [*pieces.warnings, *load.warnings]

    def _claim(self, pieces: Pieces) -> Claim:
        session = self._line.session()
        claim = progress.claim(session, pieces, self._manner.owner, self._manner.by, self._manner.clock.now())
        if self._manner.by == "content" and not claim.complete:
            content.key_earlier(session, claim.batch)
        return claim

    def _parts(self, pieces: Pieces, claim: Claim) -> list[str]:
        return [
            f"batch {batch} has {loaded:,} rows of another file of this name, which was never loaded to its end: if "
            f"this is that file, corrected, they are there twice; `premortem retail withdraw {batch}` takes them out"
            for batch, loaded in progress.parts_of(self._line.session(), pieces.name, claim.batch)
        ]

    def _chunk(self, claim: Claim, ready: Ready) -> Committed:
        return load_chunk(self._line.session(), claim, ready, premortem.__version__)

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
        self._line.locked = pieces.sha256
        try:
            yield True
        finally:
            self._line.unlock()

    def _get_lock(self, pieces: Pieces, *, wait: bool) -> bool:
        if self._line.guarded(lambda: progress.try_lock(self._line.session(), pieces.sha256)):
            return True
        if wait:
            emit("retail.waiting", source=pieces.name)
        until = self._now() + self._settings.retail_wait_s
        while wait and self._now() < until:
            with suppress(DatabaseTimeoutError):  # a statement may take only so long: ask again
                if progress.try_lock(self._line.session(), pieces.sha256, wait=True):
                    return True
            self._line.drop()
        return False


def _left_behind(claim: Claim | None) -> str:
    """What has to be known of a file that is in the database in part, before a corrected one is loaded beside it."""
    if claim is None or not claim.read:
        return ""
    return (
        f". {claim.loaded:,} rows of it are loaded, as batch {claim.batch}: a corrected file has other bytes, is "
        f"another file and would bring them again, so `premortem retail withdraw {claim.batch}` first"
    )


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
