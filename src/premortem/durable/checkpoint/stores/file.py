"""Checkpoints in a folder: one subfolder for each name, one file for each version, each replaced whole or not at all.

    WORK/invoices/000000000013.checkpoint    the newest version; 12 and 11 stand beside it
    WORK/invoices/head                       who has claimed it, and what the newest version is
    WORK/invoices/lock                       held for the moment of a change

For processes of one machine: the locks of network file systems differ.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from premortem.durable.atomic_file import replace, sync_folder
from premortem.durable.checkpoint.stores import Change, Decision, Kept
from premortem.durable.errors import StoreDownError
from premortem.durable.locking import lock
from premortem.errors import ConfigurationError

_VERSION = re.compile(r"(\d{12})\.checkpoint")
_LONGEST_NAME = 200
_LOOKS = 20  # a reader meets files that a writer removes meanwhile


class FileStore:
    """Keeps checkpoints below `folder`, which is made when needed. `wait_s`: how long to wait for another writer."""

    transactional = False

    def __init__(self, folder: str | os.PathLike[str], *, wait_s: float = 5.0) -> None:
        self.folder = Path(folder)
        self._wait_s = wait_s

    def __repr__(self) -> str:
        return f"FileStore({str(self.folder)!r})"

    def read(self, name: str) -> Kept:
        """As `CheckpointStore.read`."""
        folder = self._home(name)
        with self._told():
            head = _content(folder / "head")
            for _ in range(_LOOKS):
                documents = [(version, _content(folder / _file(version))) for version in _versions(folder)]
                whole = tuple((version, raw) for version, raw in documents if raw is not None)
                if len(whole) == len(documents):
                    break
            return Kept(head, whole, datetime.now(UTC))

    def change(self, name: str, decide: Decision) -> None:
        """As `CheckpointStore.change`."""
        folder = self._home(name)
        with self._told(), self._locked(folder):
            head = _content(folder / "head")
            if head is None:  # whoever has made the folder may not have come to syncing it
                sync_folder(folder.parent)
            change = decide(head, datetime.now(UTC))
            if change is not None:
                self._write(folder, change)

    def forget(self, name: str) -> None:
        """As `CheckpointStore.forget`."""
        folder = self._home(name)
        with self._told(), self._locked(folder):
            for version in _versions(folder):
                (folder / _file(version)).unlink()
            (folder / "head").unlink(missing_ok=True)
            sync_folder(folder)

    def close(self) -> None:
        """As `CheckpointStore.close`: nothing stays open."""

    def _write(self, folder: Path, change: Change) -> None:
        """The document is there for good before the head says so; and only then the old ones go.

        After a save the head is not synced: a power failure that damages it has ended every worker of this machine,
        too, and it is made again from the documents.
        """
        if change.document is not None:
            replace(str(folder / _file(change.version)), change.document)
            sync_folder(folder)
        replace(str(folder / "head"), change.head, synced=change.document is None)
        if change.document is None:
            sync_folder(folder)
        for entry in os.listdir(folder):  # noqa: PTH208 - names, not paths
            match = _VERSION.fullmatch(entry)
            stale = int(match[1]) <= change.forget if match else entry.endswith(".checkpoint.draft")
            if stale:
                (folder / entry).unlink(missing_ok=True)

    def _home(self, name: str) -> Path:
        quoted = quote(name, safe="").replace(".", "%2E")  # so that "..", too, is a name like any other
        if len(quoted) > _LONGEST_NAME:
            raise ConfigurationError(f"checkpoint name {name!r}: has to fit a file name; take a shorter one")
        return self.folder / quoted

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        _make(folder)
        file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            if not lock(file, self._wait_s):
                raise StoreDownError(
                    f"the folder {folder}", f"another process has held its lock for more than {self._wait_s:g} s"
                )
            yield
        finally:
            os.close(file)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreDownError(f"the folder {self.folder}", str(error)) from error


def _make(folder: Path) -> None:
    """Have `folder` for good, and every folder above it."""
    try:
        folder.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        _make(folder.parent)
        folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _file(version: int) -> str:
    return f"{version:012d}.checkpoint"


def _versions(folder: Path) -> list[int]:
    try:
        entries = os.listdir(folder)  # noqa: PTH208 - as above
    except FileNotFoundError:
        return []
    return [int(match[1]) for match in map(_VERSION.fullmatch, entries) if match]


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
