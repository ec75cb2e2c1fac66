"""Dead letters in a file: an append log with a record for each change, made shorter when most of it is out of date.

    WORK/dead.letters         each record is one JSON document; the newest of a key counts
    WORK/dead.letters.lock    held for the moment of a change

For processes of one machine: the locks of network file systems differ. An index of the keys lies in memory.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from premortem.durable.append_log import AppendLog
from premortem.durable.append_records import MAGIC, Whole, packed, scanned
from premortem.durable.atomic_file import write_atomically
from premortem.durable.dead_letters.stores import Decision, Put, Row, Tally
from premortem.durable.errors import DamagedError, StoreDownError
from premortem.durable.locking import lock
from premortem.durable.telling import tell

_STALE_AT_LEAST = 1000
_HEAD = 12  # bytes of an append log's record before its content


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a letter's newest record stands, and what of it is looked for."""

    number: int
    why: str
    state: str
    at: int
    size: int
    bytes: int


class FileLetters:
    """Keeps letters in the file at `path`, whose folder has to be there. `wait_s`: how long to wait for others."""

    transactional = False

    def __init__(self, path: str | os.PathLike[str], *, wait_s: float = 5.0) -> None:
        self.path = Path(path)
        self._log = AppendLog(path)
        self._wait_s = wait_s
        self._thread = threading.RLock()
        self._index: dict[tuple[str, str], _Place] = {}
        self._seen: tuple[int, int] | None = None
        self._end = self._records = self._last = 0

    def __repr__(self) -> str:
        return f"FileLetters({str(self.path)!r})"

    def together(self) -> AbstractContextManager[None]:
        """As `DeadLetterStore.together`."""
        return contextlib.nullcontext()

    def change(self, name: str, key: str, decide: Decision, *, skip_held: bool = False) -> None:  # noqa: ARG002 - nothing is held
        """As `DeadLetterStore.change`."""
        with self._locked():
            place = self._index.get((name, key))
            put = decide(self._document(place) if place else None, datetime.now(UTC))
            if put is not None:
                self._write([(name, key, place.number if place else self._last + 1, put)])

    def page(self, name: str, *, state: str, why: str | None, after: int, limit: int) -> tuple[Row, ...]:
        """As `DeadLetterStore.page`."""
        with self._locked():
            suiting = sorted(
                (place.number, key, place)
                for (of, key), place in self._index.items()
                if of == name and place.number > after and place.state == state and why in (None, place.why)
            )
            return tuple(Row(number, key, self._document(place)) for number, key, place in suiting[:limit])

    def newest(self, name: str) -> int:
        """As `DeadLetterStore.newest`."""
        with self._locked():
            return max((place.number for (of, _), place in self._index.items() if of == name), default=0)

    def tallies(self, name: str) -> tuple[Tally, ...]:
        """As `DeadLetterStore.tallies`."""
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        with self._locked():
            for (of, _), place in self._index.items():
                if of == name:
                    letters, size = sums.get((place.why, place.state), (0, 0))
                    sums[place.why, place.state] = letters + 1, size + place.bytes
        return tuple(Tally(*kind, *sums[kind]) for kind in sorted(sums))

    def remove(self, name: str, rows: Sequence[Row]) -> int:
        """As `DeadLetterStore.remove`."""
        with self._locked():
            places = [(row, self._index.get((name, row.key))) for row in rows]
            same = [row for row, place in places if place and self._document(place) == row.document]
            if same:
                self._write([(name, row.key, row.number, None) for row in same])
            return len(same)

    def close(self) -> None:
        """Close the file."""
        with self._thread:
            self._log.close()

    def _write(self, changes: Sequence[tuple[str, str, int, Put | None]]) -> None:
        self._log.extend(_record(*change) for change in changes)
        self._refresh()
        if self._records - len(self._index) > max(_STALE_AT_LEAST, len(self._index)):
            self._shorten()

    def _shorten(self) -> None:
        """The newest records alone, in the place of all."""
        with self.path.open("rb") as file:
            whole = [packed(os.pread(file.fileno(), one.size, one.at)) for one in self._index.values()]
        last = packed(json.dumps({"last": self._last}).encode())  # numbers are not given twice
        write_atomically(self.path, b"".join((MAGIC, last, *whole)))
        self._refresh()

    def _document(self, place: _Place) -> bytes:
        with self.path.open("rb") as file:
            known = json.loads(os.pread(file.fileno(), place.size, place.at))
        return base64.b64decode(known["base64"]) if "base64" in known else str(known["document"]).encode()

    def _refresh(self) -> None:
        """Read what has been added since, by whomever; all of it where the file is another one."""
        try:
            file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._forget(None)
            return
        try:
            found = os.fstat(file)
            if (found.st_dev, found.st_ino) != self._seen or found.st_size < self._end:
                self._forget((found.st_dev, found.st_ino))
            for one in scanned(file, self._end, found.st_size):
                if isinstance(one, Whole):
                    self._note(one.at, one.record)
                    self._end = one.at + _HEAD + len(one.record)
                elif one.end < found.st_size:
                    tell("dead_letters.damaged", path=str(self.path), at=one.at, bytes=one.end - one.at)
        finally:
            os.close(file)

    def _forget(self, seen: tuple[int, int] | None) -> None:
        self._index, self._seen, self._end, self._records, self._last = {}, seen, 0, 0, 0

    def _note(self, at: int, record: bytes) -> None:
        try:
            known = json.loads(record)
            self._last = max(self._last, known.get("number", known.get("last", 0)))
            if "key" not in known:
                return
            self._records += 1
            where = (known["name"], known["key"])
            if "state" not in known:
                self._index.pop(where, None)
                return
            self._index[where] = _Place(
                known["number"], known["why"], known["state"], at + _HEAD, len(record), known["bytes"]
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(
                str(self.path), f"{record!r:.60} is no record of dead letters", "name another file"
            ) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._thread:
            try:
                file = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
                try:
                    if not lock(file, self._wait_s):
                        raise StoreDownError(repr(self), f"another process has held its lock for {self._wait_s:g} s")
                    self._refresh()
                    yield
                finally:
                    os.close(file)
            except OSError as error:
                raise StoreDownError(repr(self), str(error)) from error


def _record(name: str, key: str, number: int, put: Put | None) -> bytes:
    known: dict[str, object] = {"name": name, "key": key, "number": number}
    if put is not None:
        known |= {"why": put.why, "state": put.state, "bytes": len(put.document)}
        try:
            known["document"] = put.document.decode()
        except UnicodeDecodeError:
            known["base64"] = base64.b64encode(put.document).decode()
    return json.dumps(known, separators=(",", ":")).encode()
