"""Interleaved rounds: every proxy before a server of its own, each round beginning with another; who fails is noted."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from bench.faults_load import Load
from bench.faults_table import Table
from bench.proxies import At, Proxy, Running

MODULES = ("direct", "ours", "faulty", "socat", "nginx", "haproxy")

One = Callable[[str, Running], Sequence[float]]
"""One round of one proxy, by its name: the figures, in the order of the columns."""


@dataclass(frozen=True)
class Bench:
    """What every measurement needs: so many `rounds` each, and a `size` below 1 for less in each of them."""

    load: Load
    folder: Path
    rounds: int
    size: float = 1.0

    def few(self, rounds: int) -> int:
        """For what takes long."""
        return min(self.rounds, rounds)


@dataclass(frozen=True)
class Part:
    """A section of the page, and its lines among the goals."""

    text: str
    goals: Sequence[str] = ()


def proxies() -> list[Proxy]:
    """All of them, measurable or not."""
    return [cast("Proxy", importlib.import_module(f"bench.proxies.{module}")) for module in MODULES]


@contextmanager
def standing(bench: Bench, table: Table, wanted: Sequence[Proxy], delay_s: float = 0.0) -> Iterator[dict[str, Running]]:
    """Those that are here, each before a port of the server of its own, its answers `delay_s` seconds late."""
    with ExitStack() as stack:
        ports = stack.enter_context(bench.load.serving(len(wanted)))
        places = [At(port, bench.folder, delay_s) for port in ports]
        yield start_all(stack, table, [(one.NAME, one, at) for one, at in zip(wanted, places, strict=True)])


def start_all(stack: ExitStack, table: Table, wanted: Sequence[tuple[str, Proxy, At]]) -> dict[str, Running]:
    """Each by the name of its row; those that are not here or do not start are noted with their reason."""
    up = {}
    for name, proxy, at in wanted:
        table.names.append(name)
        if why_not := proxy.why_not():
            table.note(name, why_not)
            continue
        try:
            up[name] = stack.enter_context(proxy.start(at))
        except Exception as error:  # noqa: BLE001 - a row of its own, not the end of the run
            table.note(name, failed(error))
    return up


def interleaved(what: str, rounds: int, up: Mapping[str, Running], table: Table, one: One) -> None:
    """`one` for each proxy in each round, each round beginning with another; who fails is out, and noted."""
    names = list(up)
    for number in range(rounds):
        say(f"{what}, round {number + 1} of {rounds}")
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if name in table.notes:
                continue
            try:
                table.add(name, *one(name, up[name]))
            except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
                table.note(name, failed(error))


def failed(error: Exception) -> str:
    """For a cell."""
    return f"failed: {type(error).__name__}: {' '.join(str(error).split())[:120]}".replace("|", "/")


def say(what: str) -> None:
    """Progress, where it is not part of the page."""
    sys.stderr.write(f"\r{what:60}")
    sys.stderr.flush()
