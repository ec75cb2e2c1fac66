"""What this machine can do: every capability is tried for real, and says the exact reason where it is not to be had."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from premortem import __version__
from premortem.errors import PremortemError
from premortem.experiment import attempts
from premortem.faults import needs
from premortem.faults.needs import why_not

__all__ = ["Finding", "tried", "why_not"]

_LIBRARIES = (
    "psycopg",
    "polars",
    "fastexcel",
    "pydantic-settings",
    "rich",
    "jinja2",
    "xlsxwriter",
    "cryptography",
    "libfaketime",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was tried; `detail` is what was found, or why it is not to be had.

    `instead` is what does nearly the same where this does not work; such a finding is no lack.
    """

    name: str
    works: bool
    detail: str
    group: str = ""
    instead: str = ""

    @property
    def lacking(self) -> bool:
        """Whether something is missing that nothing stands in for."""
        return not self.works and not self.instead


@dataclass(frozen=True, slots=True)
class _Attempt:
    group: str
    make: Callable[[], str]
    instead: str = ""


_ATTEMPTS: Mapping[str, _Attempt] = {
    "temporary folder": _Attempt("isolation", attempts.temporary_folder),
    "isolation": _Attempt("isolation", attempts.isolation),
    "clean-up of families": _Attempt("isolation", attempts.family),
    "server: postgres": _Attempt("servers", attempts.postgres),
    "server: valkey": _Attempt("servers", attempts.valkey),
}
_UNUSED: Mapping[str, _Attempt] = {
    "tc netem": _Attempt("faults", attempts.netem, "delays are the proxy's (proxy), losses are nft's (nft)"),
}


def tried() -> Iterator[Finding]:
    """All of it, group by group, as it is found out; servers take a second."""
    yield from _here()
    for library in _LIBRARIES:
        yield _library(library)
    for name, attempt in _ATTEMPTS.items():
        yield _attempted(name, attempt)
    for name, need in needs.NEEDS.items():
        reason = why_not(name)
        yield Finding(f"fault: {name}", not reason, reason or need.what, "faults", need.instead)
    for name, attempt in _UNUSED.items():
        yield _attempted(f"fault: {name}", attempt)


def _here() -> Iterator[Finding]:
    virtual = sys.prefix if sys.prefix != sys.base_prefix else "none"
    yield Finding("premortem", works=True, detail=f"{__version__} in {Path(__file__).parents[1]}", group="here")
    version = f"{platform.python_version()} at {sys.executable}"
    yield Finding("python", sys.version_info >= (3, 11), version, "here")
    yield Finding("virtual environment", works=True, detail=virtual, group="here")
    user = "root" if os.getuid() == 0 else f"user {os.getuid()}"
    yield Finding(
        "platform", works=True, detail=f"{platform.platform()}, {os.cpu_count()} cores, as {user}", group="here"
    )


def _library(name: str) -> Finding:
    try:
        return Finding(name, works=True, detail=importlib.metadata.version(name), group="libraries")
    except importlib.metadata.PackageNotFoundError:
        detail = "not installed; pip install 'premortem[lab]'"
        return Finding(name, works=False, detail=detail, group="libraries")


def _attempted(name: str, attempt: _Attempt) -> Finding:
    try:
        return Finding(name, works=True, detail=attempt.make(), group=attempt.group, instead=attempt.instead)
    except (PremortemError, OSError, subprocess.SubprocessError, ModuleNotFoundError) as error:
        return Finding(name, works=False, detail=f"{error}", group=attempt.group, instead=attempt.instead)
