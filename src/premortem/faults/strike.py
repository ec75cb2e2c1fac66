"""How an injector says what it hit, and how it refuses a target that is not ours.

Law: an injector calls `struck` when the fault has taken effect, not when it was asked for. A proof without a strike
is INCONCLUSIVE.
"""

from __future__ import annotations

from pathlib import Path

from premortem.errors import FaultError
from premortem.events import emit


def struck(fault: str, what: str) -> None:
    """Tell that `fault` took effect on `what`."""
    emit("fault.struck", fault=fault, what=what)


def lifted(fault: str, what: str) -> None:
    """Tell that `fault` was taken out of `what` again."""
    emit("fault.lifted", fault=fault, what=what)


def inside(folder: Path, path: Path) -> Path:
    """`path`, made absolute, if it lies below `folder`: faults of files touch nothing else."""
    absolute = (folder / path).resolve()
    if not absolute.is_relative_to(folder.resolve()):
        raise FaultError(f"{path}: lies outside {folder}, and a file fault strikes only there; copy the file into it")
    return absolute
