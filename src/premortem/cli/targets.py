"""What a target on the command line stands for: a slug, a gallery, or a path."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from premortem.errors import ConfigurationError
from premortem.experiment import discovery
from premortem.model import FailureMode
from premortem.museum import EXHIBITS


def resolve(targets: Sequence[str]) -> list[FailureMode]:
    """The failure modes that `targets` name, each once; all of the museum's for none."""
    if not targets:
        return discovery.find_in(EXHIBITS)
    found: dict[str, FailureMode] = {}
    for target in targets:
        found |= {mode.path: mode for mode in _one(target)}
    return list(found.values())


def resolve_one(target: str) -> FailureMode:
    """The one failure mode that `target` names."""
    modes = resolve([target])
    if len(modes) > 1:
        names = ", ".join(mode.name for mode in modes)
        raise ConfigurationError(f"{target}: stands for {len(modes)} exhibits, and one is wanted; name one of {names}")
    return modes[0]


def _one(target: str) -> list[FailureMode]:
    museum = discovery.find_in(EXHIBITS)
    wanted = target.rstrip("/").replace("_", "-")
    if named := [mode for mode in museum if wanted in (mode.slug, mode.name, mode.gallery)]:
        return named
    path = Path(target)
    if path.exists():
        return discovery.find_at(path)
    names = sorted({name for mode in museum for name in (mode.slug, mode.gallery)})
    near = difflib.get_close_matches(wanted.rpartition("/")[2], names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "`premortem list` names them all"
    raise ConfigurationError(f"{target}: is no slug, no gallery and no path; {hint}")
