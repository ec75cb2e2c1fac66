"""Faults of files: gone, cut short, overwritten, rows and columns that changed upstream.

With a journal they are leased (`premortem.faults.leases.lease`): the file comes back even if this process is killed.
"""

from __future__ import annotations

import csv
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from premortem.errors import FaultError
from premortem.faults.leases.lease import TTL_S, leased
from premortem.faults.leases.lease_journal import COPIES, folder_of
from premortem.faults.leases.undo import PutBack, put_back
from premortem.faults.strike import inside, lifted, struck

Rows = list[list[str]]


@dataclass(frozen=True, slots=True)
class Files:
    """Strikes files below `folder`, and puts them back as they were.

    `journal` is the folder of the write-ahead journal that lets them come back when this process is killed in between;
    then a fault lasts `ttl_s` seconds at most. Without it, they come back at the end of the block alone.
    """

    folder: Path
    journal: Path | None = None
    ttl_s: float = TTL_S

    @contextmanager
    def removed(self, path: Path) -> Iterator[None]:
        """The file is gone."""
        with self._changed("removed", path, Path.unlink, "the file is gone"):
            yield

    @contextmanager
    def truncated(self, path: Path, keep: float) -> Iterator[None]:
        """Only the first `keep` of the file (0 to 1) was written: a copy that was cut off."""
        if not 0 <= keep <= 1:
            raise FaultError(f"keep={keep}: has to be the share that is left, from 0 to 1; half a file is 0.5")
        size = self._target(path).stat().st_size
        left = int(size * keep)
        with self._changed("truncated", path, lambda file: os.truncate(file, left), f"{left} of {size} bytes are left"):
            yield

    @contextmanager
    def overwritten(self, path: Path, content: bytes, what: str) -> Iterator[None]:
        """The file holds something else; `what` says it in words."""
        with self._changed("overwritten", path, lambda file: file.write_bytes(content), what):
            yield

    @contextmanager
    def cell(self, path: Path, row: int, column: str, value: str) -> Iterator[None]:
        """One cell of a CSV file has another value; row 2 is the first one under the header."""

        def change(rows: Rows) -> str:
            position, cells = _column(path, rows, column), _row(path, rows, row, first=2)
            if position >= len(cells):
                raise FaultError(f"{path}: row {row} is too short to have a {column!r}; name another row")
            before, cells[position] = cells[position], value
            return f"row {row}, {column}: {before!r} became {value!r}"

        with self._csv("cell", path, change):
            yield

    @contextmanager
    def column_renamed(self, path: Path, column: str, to: str) -> Iterator[None]:
        """A column of a CSV file has another name."""

        def change(rows: Rows) -> str:
            rows[0][_column(path, rows, column)] = to
            return f"column {column} is now called {to}"

        with self._csv("column renamed", path, change):
            yield

    @contextmanager
    def row_repeated(self, path: Path, row: int) -> Iterator[None]:
        """A row of a CSV file is delivered a second time, at the end of it."""

        def change(rows: Rows) -> str:
            rows.append(_row(path, rows, row, first=1))
            return f"row {row} came a second time, as row {len(rows)}"

        with self._csv("row repeated", path, change):
            yield

    @contextmanager
    def _csv(self, fault: str, path: Path, change: Callable[[Rows], str]) -> Iterator[None]:
        before = self._target(path).read_bytes().decode("utf-8")
        rows = list(csv.reader(io.StringIO(before, newline="")))
        what = change(rows)
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\r\n" if "\r\n" in before else "\n").writerows(rows)
        with self._changed(fault, path, lambda file: file.write_bytes(text.getvalue().encode()), what):
            yield

    @contextmanager
    def _changed(self, fault: str, path: Path, change: Callable[[Path], object], what: str) -> Iterator[None]:
        """The frame of every fault here: keep the content, change it, say so, put it back."""
        target = self._target(path)
        before = target.read_bytes()
        try:
            with self._coming_back(target, f"{path.name}: {fault}"):
                change(target)
                if target.is_file() and target.read_bytes() == before:
                    raise FaultError(
                        f"{path}: is what it was before it was {fault}, so nothing was struck; strike harder"
                    )
                struck(fault, f"{path.name}: {what}")
                yield
        finally:
            lifted(fault, path.name)

    @contextmanager
    def _coming_back(self, target: Path, what: str) -> Iterator[None]:
        if self.journal is None:
            content, mode = target.read_bytes(), stat.S_IMODE(target.stat().st_mode)
            try:
                yield
            finally:
                put_back(target, self.folder, content, mode)
        else:
            undo = PutBack.keep(target, self.folder, folder_of(self.journal) / COPIES)
            with leased(undo, what=what, ttl_s=self.ttl_s, journal=self.journal):
                yield

    def _target(self, path: Path) -> Path:
        target = inside(self.folder, path)
        if not target.is_file():
            raise FaultError(f"{path}: there is no such file to strike; write it before the fault is put in")
        return target


def _column(path: Path, rows: Rows, column: str) -> int:
    header = rows[0] if rows else []
    if column not in header:
        raise FaultError(f"{path}: has no column {column!r} to strike; it has {', '.join(header) or 'none'}")
    return header.index(column)


def _row(path: Path, rows: Rows, row: int, first: int) -> list[str]:
    if not first <= row <= len(rows):
        raise FaultError(f"{path}: has no row {row} to strike; choose one from {first} to {len(rows)}")
    return rows[row - 1]
