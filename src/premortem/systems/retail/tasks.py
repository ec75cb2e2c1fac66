"""What a run is asked and what it answers: files to do, how, and a report for each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from premortem.ports import Clock
from premortem.systems.retail.progress import Claim

Sameness = Literal["file", "content"]
State = Literal["loaded", "known", "failed"]


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
class Load:
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
        """What has become of it."""
        claim = self.claim
        state: State = "failed" if self.error else "loaded" if self.chunks else "known"
        counts = (claim.batch, claim.read, claim.loaded, claim.dead, claim.known) if claim else (0, 0, 0, 0, 0)
        rest = (self.chunks, self.resumed, now - self.began, self.error, tuple(self.warnings))
        return FileReport(self.source, self.sha256, state, *counts, *rest)
