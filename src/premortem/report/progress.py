"""How far a run is, while it runs: a live region on a terminal, one plain line for each proof anywhere else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from premortem.model import Proof, Verdict
from premortem.ports import Clock, SystemClock
from premortem.report.legible import one_line
from premortem.report.terminal import badge
from premortem.report.wording import SYMBOLS, seconds

_MOST_RUNNING, _MOST_DONE = 6, 8  # lines of the live region: it has to fit in any window
_REFRESH_HZ = 8


class Progress(Protocol):
    """Hears how a run goes."""

    def started(self, name: str) -> None:
        """The exhibit `name` begins."""
        ...

    def proven(self, proof: Proof) -> None:
        """A proof is there, whatever its verdict."""
        ...


@contextmanager
def live(console: Console, total: int, clock: Clock | None = None) -> Iterator[Progress]:
    """Show the progress of `total` exhibits; on a terminal nothing of it is left behind: the report says it all."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield _Lines(console, total)
        return
    region = _Region(total, clock or SystemClock())
    with Live(console=console, get_renderable=region.draw, refresh_per_second=_REFRESH_HZ, transient=True):
        yield region


@dataclass
class _Lines:
    console: Console
    total: int
    _done: int = 0

    def started(self, name: str) -> None:
        """Nothing: a log is read for what came of it."""

    def proven(self, proof: Proof) -> None:
        self._done += 1
        count = f"[{self._done:{len(str(self.total))}}/{self.total}]"
        verdict = f"{SYMBOLS[proof.verdict]} {proof.verdict.value:<14}"
        line = f"{count} {verdict} {one_line(proof.mode.name)} ({seconds(proof.elapsed_s)})"
        if proof.verdict is not Verdict.PROVEN:
            line += f": {one_line(proof.reason)}"
        self.console.print(Text(line), soft_wrap=True)


@dataclass
class _Region:
    total: int
    clock: Clock
    _running: dict[str, float] = field(default_factory=dict)
    _recent: deque[Proof] = field(default_factory=lambda: deque(maxlen=_MOST_DONE))
    _counts: dict[Verdict, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._start_s = self.clock.monotonic()

    def started(self, name: str) -> None:
        self._running[name] = self.clock.monotonic()

    def proven(self, proof: Proof) -> None:
        self._running.pop(proof.mode.name, None)
        self._recent.append(proof)
        self._counts[proof.verdict] = self._counts.get(proof.verdict, 0) + 1

    def draw(self) -> RenderableType:
        """The region as it is now. Called by the display's own thread: it reads copies."""
        now_s = self.clock.monotonic()
        counted = dict(self._counts)
        done = sum(counted.values())
        head = Table.grid(padding=(0, 2))
        bar = ProgressBar(total=max(self.total, 1), completed=done, width=24)
        head.add_row(bar, Text(f"{done} of {self.total}", "bold"), Text(seconds(now_s - self._start_s), "dim"))
        rows = Table.grid(padding=(0, 2))
        for proof in list(self._recent):
            rows.add_row(badge(proof.verdict), _clipped(proof.mode.name), Text(f"{proof.elapsed_s:.1f} s", "dim"))
        running = list(self._running.items())
        for name, start_s in running[:_MOST_RUNNING]:
            rows.add_row(Text("… running", "dim"), _clipped(name), Text(f"{now_s - start_s:.1f} s", "dim"))
        if len(running) > _MOST_RUNNING:
            rows.add_row(Text(), Text(f"and {len(running) - _MOST_RUNNING} more", "dim"))
        return Group(rows, head)


def _clipped(name: str) -> Text:
    return Text(one_line(name), no_wrap=True, overflow="ellipsis")
