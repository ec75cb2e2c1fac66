"""A folder as it was: kept beside, and put back before each run."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `folder` held."""

    folder: Path
    kept: Path

    def restore(self) -> None:
        """Put it back."""
        self.clear()
        shutil.copytree(self.kept, self.folder, symlinks=True, dirs_exist_ok=True)

    def clear(self) -> None:
        """Remove all that is in it. The folder itself stays: it may be somebody's current one."""
        for entry in self.folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


@contextmanager
def snapshot(folder: Path) -> Iterator[Snapshot]:
    """Keep what `folder` holds for the block."""
    with tempfile.TemporaryDirectory(prefix="premortem-snapshot-") as kept:
        shutil.copytree(folder, kept, symlinks=True, dirs_exist_ok=True)
        yield Snapshot(folder, Path(kept))
