"""The mark: by this call a program says to whoever supervises it that counting may begin.

An fsync of a descriptor that nobody can have. Not supervised, it fails, and that is all.
"""

from __future__ import annotations

import os
from contextlib import suppress

MARK = 1_048_583  # above the most descriptors that Linux gives a process by default


def arm() -> None:
    """From here on the calls of this program count: of `run(..., from_mark=True)`. Does nothing anywhere else."""
    with suppress(OSError):
        os.fsync(MARK)
