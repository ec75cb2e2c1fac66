"""An exclusive lock on an open file, waited for with an end; the system gives it back when its holder dies."""

from __future__ import annotations

import os
import time

_FIRST_WAIT_S = 0.0005
_LONGEST_WAIT_S = 0.02


def lock(file: int, limit_s: float, *, shared: bool = False) -> bool:
    """Lock descriptor `file` within `limit_s` seconds; False where others held it for so long."""
    import fcntl  # noqa: PLC0415 - not there on Windows, and nothing is to be paid where it is not used

    kind = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB
    ends, wait_s = time.monotonic() + limit_s, _FIRST_WAIT_S
    while True:
        try:
            fcntl.flock(file, kind)
        except BlockingIOError:
            if time.monotonic() >= ends:
                return False
        else:
            return True
        time.sleep(wait_s)
        wait_s = min(wait_s * 2, _LONGEST_WAIT_S)


def same_file(file: int, path: str | os.PathLike[str], *, follow: bool = False) -> bool:
    """Whether descriptor `file` is still what stands at `path`: it may have been renamed or removed meanwhile."""
    try:
        there = os.stat(path, follow_symlinks=follow)  # noqa: PTH116 - beside fstat, on the path of every append
    except FileNotFoundError:
        return False
    here = os.fstat(file)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
