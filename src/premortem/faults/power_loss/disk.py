"""A disk between the program and the power failure: what has arrived for good, and what is still on its way.

The model, file system by file system apart, is what POSIX promises: the content of a file is durable after an fsync of
that file; a name (created, renamed, linked, removed) after an fsync of its folder; until then each may have arrived or
not. A rename is one step: it has happened or it has not. Prior art: ALICE (Pillai et al., OSDI 2014), LazyFS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

FOLDER = -1  # what the name of a folder stands for; a file's name stands for the number of its content

Entry = int | str  # FOLDER, the number of a content, or what a symbolic link says


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes at an offset."""

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """A new length in bytes, filled up with zeros."""

    length: int


Change = Write | Resize


@dataclass(frozen=True, slots=True)
class Renaming:
    """One step among names: these go, these come. Durable after an fsync of one of `folders`."""

    gone: tuple[str, ...]
    come: tuple[tuple[str, Entry], ...]

    @property
    def paths(self) -> frozenset[str]:
        """The names that it is about."""
        return frozenset((*self.gone, *(path for path, _ in self.come)))

    @property
    def folders(self) -> frozenset[str]:
        """Where it happened."""
        return frozenset(parent(path) for path in self.paths)


@dataclass(slots=True)
class Content:
    """The bytes of one file, whatever its names: as they last were durable, as they are, and the way from there."""

    durable: bytes = b""
    now: bytes = b""
    pending: list[Change] = field(default_factory=list)

    def change(self, change: Change) -> None:
        """The program has done it, and nothing says that it has arrived."""
        self.now = applied(self.now, (change,))
        self.pending.append(change)

    def sync(self) -> None:
        """All of it has arrived."""
        self.durable = self.now
        self.pending.clear()


def applied(content: bytes, changes: Sequence[Change]) -> bytes:
    """`content` after `changes`."""
    after = bytearray(content)
    for change in changes:
        if isinstance(change, Resize):
            after = after[: change.length].ljust(change.length, b"\0")
        else:
            after = after.ljust(change.offset, b"\0")
            after[change.offset : change.offset + len(change.data)] = change.data
    return bytes(after)


def renamed(names: Mapping[str, Entry], steps: Sequence[Renaming]) -> dict[str, Entry]:
    """`names` after `steps`."""
    after = dict(names)
    for step in steps:
        for path in step.gone:
            after.pop(path, None)
        after.update(step.come)
    return after


def parent(path: str) -> str:
    """The folder that `path` is in, "." for the uppermost."""
    return str(PurePosixPath(path).parent)


@dataclass(slots=True)
class Disk:
    """Files and names. `durable`, `now`: what each path stands for; `pending`: the way from there, in order."""

    contents: list[Content] = field(default_factory=list)
    durable: dict[str, Entry] = field(default_factory=dict)
    now: dict[str, Entry] = field(default_factory=dict)
    pending: list[Renaming] = field(default_factory=list)

    def file(self, path: str) -> Content | None:
        """The content that `path` stands for now."""
        entry = self.now.get(path)
        return self.contents[entry] if isinstance(entry, int) and entry != FOLDER else None

    def is_folder(self, path: str) -> bool:
        """Whether `path` is one. The uppermost is, and so is all outside of it that nothing else is known of."""
        return path == "." or self.now.get(path) == FOLDER or (path.startswith("/") and path not in self.now)

    def below(self, folder: str) -> list[str]:
        """All paths inside of it."""
        return [path for path in self.now if path.startswith(f"{folder}/")]

    def dirty(self) -> list[int]:
        """The contents of which something is on its way."""
        return [number for number, content in enumerate(self.contents) if content.pending]

    def add(self, content: bytes = b"") -> int:
        """A content, durable as it is; its number."""
        self.contents.append(Content(content, content))
        return len(self.contents) - 1

    def step(self, gone: tuple[str, ...], come: tuple[tuple[str, Entry], ...] = ()) -> None:
        """Names that go and names that come, at once; nothing says yet that it has arrived."""
        step = Renaming(gone, come)
        self.now = renamed(self.now, (step,))
        self.pending.append(step)

    def sync_names(self, folder: str) -> None:
        """What happened to the names in `folder` has arrived, and what had happened before to the same names."""
        arrived: list[Renaming] = []
        names: set[str] = set()
        for step in reversed(self.pending):
            if folder in step.folders or not names.isdisjoint(step.paths):
                arrived.insert(0, step)
                names |= step.paths
        self.durable = renamed(self.durable, arrived)
        self.pending = [step for step in self.pending if not any(step is one for one in arrived)]

    def sync_all(self) -> None:
        """Everything has arrived."""
        for content in self.contents:
            content.sync()
        self.durable = dict(self.now)
        self.pending.clear()
