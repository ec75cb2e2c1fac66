"""Power loss: from the system calls of one clean run, the states that a disk may be in after a power failure.

No disk is struck: a run with `syscalls.run(..., record_data=True)` tells what was written and what was synced, and
each state that could be left behind is made in a folder of its own, for a check to judge. Laws: only what an fsync has
promised is taken for granted; each state has a name that makes it again, `power:rename#1/names`. Bytes that reach a
file past the calls that are watched (a memory map, io_uring) are not seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from premortem.errors import ConfigurationError, FaultError
from premortem.faults.power_loss.calls import follow
from premortem.faults.power_loss.disk import FOLDER, Disk
from premortem.faults.power_loss.variants import Variant, seen, variants
from premortem.faults.strike import struck
from premortem.faults.syscalls.operations import Operation

MOST_BYTES = 256 << 20  # of a folder that is kept in memory
MOST_STATES = 2000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a folder holds, by path within it: the bytes of files, folders, and what symbolic links say."""

    files: Mapping[str, bytes] = field(default_factory=dict)
    folders: frozenset[str] = frozenset()
    links: Mapping[str, str] = field(default_factory=dict)

    def write_to(self, folder: Path) -> None:
        """Make `folder` hold this. FaultError unless it is empty or not there: nothing is ever overwritten."""
        if folder.exists() and any(folder.iterdir()):
            raise FaultError(f"{folder}: is not empty, and what is in it is not ours to remove; name an empty folder")
        for path in sorted(self.folders):
            _within(folder, path).mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            _within(folder, path).write_bytes(content)
        for path, says in self.links.items():
            _within(folder, path).symlink_to(says)

    def digest(self) -> bytes:
        """The same for the same content, and for no other."""
        sum_ = hashlib.blake2b(repr((sorted(self.folders), sorted(self.links.items()))).encode(), digest_size=16)
        for path, content in sorted(self.files.items()):
            sum_.update(repr((path, len(content))).encode())
            sum_.update(content)
        return sum_.digest()


@dataclass(frozen=True, slots=True)
class DiskState:
    """What may be found after a power failure right after operation number `after` (its `index`).

    `name` makes it again (`disk_state`); `description` says it in words.
    """

    name: str
    description: str
    after: int
    content: Snapshot

    def write_to(self, folder: Path) -> None:
        """Make `folder`, which is empty or not there, look as after that failure; told as a strike. FaultError."""
        self.content.write_to(folder)
        struck("power loss", f"{self.name}: {self.description}")


def snapshot(folder: Path) -> Snapshot:
    """What `folder` holds now. ConfigurationError above 256 MiB: what is kept in memory has to fit there."""
    files: dict[str, bytes] = {}
    folders: set[str] = set()
    links: dict[str, str] = {}
    size = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            links[name] = str(path.readlink())
        elif path.is_dir():
            folders.add(name)
        elif path.is_file():
            size += path.stat().st_size
            if size > MOST_BYTES:
                raise ConfigurationError(f"{folder}: holds more than {MOST_BYTES} bytes; let the program work on less")
            files[name] = path.read_bytes()
    return Snapshot(files, frozenset(folders), links)


def disk_states(
    operations: Iterable[Operation], before: Snapshot, *, repeated: bool = False, most: int = MOST_STATES
) -> Iterator[DiskState]:
    """The states that a power failure may leave, for each moment of a clean run that was recorded with its data.

    `before`: the folder of the run as it was when it began, all of it durable. A content is handed out once, at the
    earliest moment that may leave it; `repeated`: at each, for a check that knows what was promised by when. At most
    `most` of them.
    """
    disk, known, count = _disk(before), set[bytes](), 0
    for operation in operations:
        if not follow(disk, operation):
            continue
        for variant in variants(disk):
            state = _state(disk, variant, operation)
            digest = state.content.digest()
            if digest in known:
                continue
            known.add(digest)
            yield state
            count += 1
            if count >= most:
                return
        if repeated:
            known.clear()


def disk_state(operations: Iterable[Operation], before: Snapshot, name: str) -> DiskState:
    """The one with that name, made again. ConfigurationError where the run has no such moment."""
    moment, _, shape = name.removeprefix("power:").partition("/")
    disk = _disk(before)
    for operation in operations:
        follow(disk, operation)
        if f"{operation.call}#{operation.nth}" == moment:
            for variant in variants(disk):
                if variant.name == shape:
                    return _state(disk, variant, operation)
            break
    raise ConfigurationError(f"{name}: this run can leave no such state; list what it can with disk_states()")


def _disk(before: Snapshot) -> Disk:
    disk = Disk()
    disk.durable.update(dict.fromkeys(before.folders, FOLDER))
    disk.durable.update({path: disk.add(content) for path, content in before.files.items()})
    disk.durable.update(before.links)
    disk.now = dict(disk.durable)
    return disk


def _state(disk: Disk, variant: Variant, operation: Operation) -> DiskState:
    name = f"power:{operation.call}#{operation.nth}/{variant.name}"
    return DiskState(name, f"after {operation}, {variant.words}", operation.index, Snapshot(*seen(disk, variant)))


def _within(folder: Path, path: str) -> Path:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise FaultError(f"{path}: lies outside {folder}, and a state is made only inside it")
    return folder / path
