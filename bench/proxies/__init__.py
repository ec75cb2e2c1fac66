"""The proxies that `make bench-faults` measures: one file each, and the module is the plugin.

A module has `NAME`, `LATENCY` (whether it can delay), `why_not()` (empty, or what to do that it can be measured),
`version()`, and `start(at, children)`: a context manager with the port that it listens on and its processes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class At:
    """Where a proxy stands: before the port `upstream`, its files in `folder`, its answers `delay_s` seconds late.

    `armed` is the recipe of a protocol-aware fault, for those that have them.
    """

    upstream: int
    folder: Path
    delay_s: float = 0.0
    armed: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """It listens on `port`; `pids` are the processes that it needs, those that it forks later not among them."""

    port: int
    pids: tuple[int, ...] = ()


class Proxy(Protocol):
    """What a module here is."""

    NAME: str
    LATENCY: bool

    def why_not(self) -> str:
        """Empty, or what to do that it can be measured."""
        ...

    def version(self) -> str:
        """As it calls it."""
        ...

    def start(self, at: At) -> AbstractContextManager[Running]:
        """Listening when the block begins, gone when it ends."""
        ...
