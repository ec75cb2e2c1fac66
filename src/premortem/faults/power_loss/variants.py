"""The ways in which a disk may look after a power failure: which of what was on its way has arrived.

All of them would be 2 to the number of pending changes. Those that break programs have a shape: nothing arrived; names
before data; data before names; lengths before bytes (the file of zeros that XFS and ext4 are known for); a file's
changes up to one of them; one of them torn, or left out, and what came later there; one file's and no other's; all.
Each list is bounded by its last `MOST`: what was done last is what is on its way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from premortem.faults.power_loss.disk import FOLDER, Change, Content, Disk, Entry, Resize, Write, applied, renamed

MOST = 8
BLOCK_BYTES = 4096  # what a disk writes at once, or not at all


@dataclass(frozen=True, slots=True)
class Variant:
    """A `name`, what it means in `words`, how many steps among names arrived, and the bytes of contents that differ.

    `others`: whether the pending bytes of all other contents have arrived.
    """

    name: str
    words: str
    steps: int
    others: bool
    bytes_of: Mapping[int, bytes] = field(default_factory=dict)


def variants(disk: Disk) -> Iterator[Variant]:
    """Every way in which `disk` may look now, the likeliest to hurt first."""
    steps, dirty = len(disk.pending), disk.dirty()[-MOST:]
    yield Variant("lost", "nothing that was not synced has arrived", 0, others=False)
    if steps:
        yield Variant("names", "names have arrived, and data that was not synced has not", steps, others=False)
    if dirty:
        zeros = {number: _zeros(disk.contents[number]) for number in dirty}
        yield Variant("zeros", "the lengths of files have arrived, and their bytes have not", steps, False, zeros)
    if steps:
        yield Variant("data", "data has arrived, and names have not", 0, others=True)
    for number in dirty:
        yield from _of_one(disk, number, steps)
    if len(dirty) > 1:
        for number in dirty:
            yield from _among_others(disk, number, steps)
    for count in range(max(1, steps - MOST), steps):
        words = f"only the first {count} of {steps} changes of names have arrived"
        yield Variant(f"names-{count}", f"{words}, and no data", count, others=False)
        yield Variant(f"names-{count}-data", f"{words}, and all data", count, others=True)
    yield Variant("all", "everything has arrived", steps, others=True)


def _of_one(disk: Disk, number: int, steps: int) -> Iterator[Variant]:
    """A file's own changes: up to one of them, one of them torn, one of them missing; all else has arrived."""
    content, called = disk.contents[number], name_of(disk, number)
    changes, total = content.pending, len(content.pending)

    def variant(name: str, words: str, arrived: list[Change]) -> Variant:
        whole = applied(content.durable, arrived)
        return Variant(f"{name}:{called}", f"{called}: {words}", steps, others=True, bytes_of={number: whole})

    for count in range(max(0, total - MOST), total):
        yield variant(f"first-{count}", f"only {count} of {total} changes have arrived, in order", changes[:count])
        change = changes[count]
        for length in _torn(change):
            piece: list[Change] = [Write(change.offset, change.data[:length])] if isinstance(change, Write) else []
            words = f"{length} of {len(change.data)} bytes" if isinstance(change, Write) else ""
            yield variant(f"torn-{count + 1}-{length}", f"change {count + 1} is torn: {words}", changes[:count] + piece)
        if count < total - 1:
            rest = changes[:count] + changes[count + 1 :]
            yield variant(f"skip-{count + 1}", f"change {count + 1} of {total} is missing, later ones are there", rest)


def _among_others(disk: Disk, number: int, steps: int) -> Iterator[Variant]:
    """One file's data against that of all the others: nothing but fsync orders two files."""
    content, called = disk.contents[number], name_of(disk, number)
    only, without = {number: content.now}, {number: content.durable}
    yield Variant(f"only:{called}", f"of all unsynced data only that of {called} has arrived", steps, False, only)
    yield Variant(f"without:{called}", f"all but the unsynced data of {called} has arrived", steps, True, without)


def _torn(change: Change) -> list[int]:
    """The lengths at which a write may be cut: after a byte, and at the first and the last end of a block in it."""
    if isinstance(change, Resize):
        return []
    end = change.offset + len(change.data)
    first = BLOCK_BYTES - change.offset % BLOCK_BYTES
    last = len(change.data) - (end % BLOCK_BYTES or BLOCK_BYTES)
    return sorted({length for length in (1, first, last) if 0 < length < len(change.data)})


def _zeros(content: Content) -> bytes:
    """As long as it is now; what was there stays, and where the file has grown there are zeros."""
    grown = content.durable
    for change in content.pending:
        end = max(len(grown), change.offset + len(change.data)) if isinstance(change, Write) else change.length
        grown = applied(grown, (Resize(end),))
    return grown


def name_of(disk: Disk, number: int) -> str:
    """A path that stands for the content, now or durably; "?" for one that has no name any more."""
    for names in (disk.now, disk.durable):
        for path, entry in names.items():
            if entry == number:
                return path
    return "?"


def seen(disk: Disk, variant: Variant) -> tuple[dict[str, bytes], frozenset[str], dict[str, str]]:
    """What is found after the failure: files, folders, symbolic links. What is below no folder is not found."""
    names = renamed(disk.durable, disk.pending[: variant.steps])
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    folders = frozenset(path for path, entry in names.items() if entry == FOLDER and _reached(names, path))
    for path, entry in names.items():
        if entry == FOLDER or not _reached(names, path):
            continue
        if isinstance(entry, str):
            links[path] = entry
        else:
            content = disk.contents[entry]
            files[path] = variant.bytes_of.get(entry, content.now if variant.others else content.durable)
    return files, folders, links


def _reached(names: Mapping[str, Entry], path: str) -> bool:
    """Whether every folder above `path` is there, and it is one of the run's own folder."""
    if path.startswith("/"):
        return False
    while "/" in path:
        path = path.rpartition("/")[0]
        if names.get(path) != FOLDER:
            return False
    return True
