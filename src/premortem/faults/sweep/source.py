"""Where points come from: the wire, the system calls and the calls in a process all look like this to the sweep.

A source is entered once by each worker, runs a command without a fault and says which points it saw, and runs it
again under recipes. It knows nothing of checks; the sweep knows nothing of proxies and filters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, Self

from premortem.model.recipe import Recipe
from premortem.model.sweep import Point


@dataclass(frozen=True, slots=True)
class Start:
    """A command to run in `folder`, for `time_s` seconds at most."""

    argv: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    time_s: float

    def with_variables(self, **variables: str) -> Self:
        """The same with more in its environment."""
        return replace(self, environment={**self.environment, **variables})


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit status, or minus the signal; `strikes` are what hit it, in words.

    `killed`: the signal was ours. `failed` says why it could not be started.
    """

    status: int
    timed_out: bool = False
    output: str = ""
    elapsed_s: float = 0.0
    strikes: tuple[str, ...] = ()
    killed: bool = False
    failed: str = ""

    def __str__(self) -> str:
        if self.failed:
            return f"could not be started: {self.failed}"
        if self.timed_out:
            return f"did not end within {self.elapsed_s:.1f} s"
        if self.killed:
            return "killed by the fault"
        return f"exit {self.status}" if self.status >= 0 else f"died of signal {-self.status}"


@dataclass(frozen=True, slots=True)
class Sighting:
    """An operation of the clean run: its recipe without an effect, and what it is about, in words."""

    recipe: Recipe
    detail: str = ""


class Source(Protocol):
    """One world of points. A context manager: what it holds (a proxy, say) is let go at the end."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def clean(self, start: Start) -> tuple[Ended, tuple[Sighting, ...]]:
        """Run it without a fault; what was seen, in order."""
        ...

    def points(self, seen: tuple[Sighting, ...], effects: tuple[str, ...]) -> tuple[Point, ...]:
        """Every point at what was seen, with each of `effects` that suits it (none: this world's own defaults)."""
        ...

    def strike(self, start: Start, recipe: Recipe) -> Ended:
        """Run it under `recipe`."""
        ...
