"""What each system call does to a disk that is still to be synced: a function a call, and the table of them.

Law: a call that cannot have succeeded (the rename of what is not there) does nothing; the trace says only that it was
made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from premortem.faults.power_loss.disk import FOLDER, Disk, Entry, Resize, Write, parent
from premortem.faults.syscalls.calls import WRITES
from premortem.faults.syscalls.operations import Operation

_SYNCED = os.O_DSYNC | os.O_SYNC
_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # fallocate(2)
_NO_REPLACE, _EXCHANGE = 1, 2  # renameat2(2)


def follow(disk: Disk, operation: Operation) -> bool:
    """Do to `disk` what `operation` did; whether it is one that may."""
    act = _ACTS.get(operation.call) if operation.kind == "file" else None
    if act:
        act(disk, operation)
    return act is not None


def _open(disk: Disk, operation: Operation) -> None:
    content = disk.file(operation.target)
    if content is None and operation.flags & os.O_CREAT:
        if _free(disk, operation.target):
            disk.step((), ((operation.target, disk.add()),))
    elif content and content.now and operation.flags & os.O_TRUNC and not operation.flags & os.O_EXCL:
        content.change(Resize(0))


def _write(disk: Disk, operation: Operation) -> None:
    if content := disk.file(operation.target):
        if operation.data:
            content.change(Write(operation.offset or 0, operation.data))
        if operation.flags & _SYNCED:
            content.sync()


def _truncate(disk: Disk, operation: Operation) -> None:
    if content := disk.file(operation.target):
        content.change(Resize(operation.size or 0))


def _allocate(disk: Disk, operation: Operation) -> None:
    if content := disk.file(operation.target):
        start, size, mode = operation.offset or 0, len(content.now), operation.flags
        end = start + (operation.size or 0)
        if mode & (_PUNCH_HOLE | _ZERO_RANGE) and start < size:
            content.change(Write(start, bytes(min(end, size) - start)))
        if not mode & _KEEP_SIZE and end > size:
            content.change(Resize(end))


def _make_folder(disk: Disk, operation: Operation) -> None:
    _name(disk, operation.target, FOLDER)


def _link(disk: Disk, operation: Operation) -> None:
    if disk.now.get(operation.target, FOLDER) != FOLDER:
        _name(disk, operation.to, disk.now[operation.target])


def _link_by_name(disk: Disk, operation: Operation) -> None:
    _name(disk, operation.target, operation.to)


def _unlink(disk: Disk, operation: Operation) -> None:
    if disk.now.get(operation.target, FOLDER) != FOLDER:
        disk.step((operation.target,))


def _remove_folder(disk: Disk, operation: Operation) -> None:
    if operation.target in disk.now and disk.is_folder(operation.target) and not disk.below(operation.target):
        disk.step((operation.target,))


def _rename(disk: Disk, operation: Operation) -> None:
    old, new, flags = operation.target, operation.to, operation.flags
    if old not in disk.now or new.startswith(f"{old}/") or not _replaces(disk, old, new, flags):
        return
    come = _moved(disk, old, new) + (_moved(disk, new, old) if flags & _EXCHANGE else ())
    kept = {path for path, _ in come}
    disk.step(tuple(path for path in (old, *disk.below(old)) if path not in kept), come)


def _replaces(disk: Disk, old: str, new: str, flags: int) -> bool:
    """Whether rename(2) succeeds: a file replaces a file, a folder an empty one, never one name of a file another."""
    if new not in disk.now or flags & _EXCHANGE:
        return disk.is_folder(parent(new)) and (new in disk.now or not flags & _EXCHANGE)
    if flags & _NO_REPLACE or disk.is_folder(old) != disk.is_folder(new):
        return False
    return not disk.below(new) if disk.is_folder(new) else disk.now[old] != disk.now[new]


def _moved(disk: Disk, old: str, new: str) -> tuple[tuple[str, Entry], ...]:
    """`old`, and all that is below it, under the new name."""
    return tuple((new + path[len(old) :], disk.now[path]) for path in (old, *disk.below(old)))


def _sync(disk: Disk, operation: Operation) -> None:
    if content := disk.file(operation.target):
        content.sync()
    elif disk.is_folder(operation.target):
        disk.sync_names(operation.target)


def _sync_all(disk: Disk, _: Operation) -> None:
    disk.sync_all()


def _name(disk: Disk, path: str, entry: Entry) -> None:
    if _free(disk, path):
        disk.step((), ((path, entry),))


def _free(disk: Disk, path: str) -> bool:
    """Whether a name can be made there."""
    return path not in disk.now and disk.is_folder(parent(path))


_ACTS: Mapping[str, Callable[[Disk, Operation], None]] = {
    "open": _open,
    **dict.fromkeys(WRITES, _write),
    "truncate": _truncate,
    "ftruncate": _truncate,
    "fallocate": _allocate,
    "rename": _rename,
    "unlink": _unlink,
    "rmdir": _remove_folder,
    "mkdir": _make_folder,
    "link": _link,
    "symlink": _link_by_name,
    "fsync": _sync,
    "fdatasync": _sync,
    "sync": _sync_all,
    "syncfs": _sync_all,
}
