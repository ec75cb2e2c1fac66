"""The fixture `sweep`: a function failed at each of its operations, and the test judges after each.

    def test_a_save_is_whole(sweep, tmp_path):
        for crash in sweep.every_crash(save, tmp_path / "state.json", {"done": 2}):
            assert load(tmp_path / "state.json") in ({"done": 1}, {"done": 2})

A test that fails prints the recipe of the point that it stood at.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

import pytest

from premortem.errors import ConfigurationError

if TYPE_CHECKING:
    from premortem.faults.power_loss import DiskState
    from premortem.faults.sweep.forks import Crash
    from premortem.faults.sweep.here import Struck

T = TypeVar("T")
MARKER = "sweep"


class Point(Protocol):
    """Where a sweep stands; its text is the recipe."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Sweep:
    """At most `budget` points (None: all), each within `time_limit_s` seconds, in `folder`."""

    folder: Path
    seed: int
    strikes: list[str]
    budget: int | None = None
    time_limit_s: float = 10.0

    def every_crash(
        self,
        function: Callable[..., object],
        *args: object,
        effects: Collection[str] = ("kill",),
        watch: Collection[str] = ("file",),
    ) -> Iterator[Crash]:
        """Call it in a fork, struck at its 1st, 2nd, 3rd ... system call; the test's `tmp_path` is put back each time.

        `effects`: kill, an errno's name, short, drop, sever. `watch`: "file", "socket". Linux alone.
        """
        from premortem.faults.sweep.forks import every_crash  # noqa: PLC0415 - brought in by the test that asks for it

        return self._told(
            every_crash(function, *args, folder=self.folder, effects=effects, watch=watch, time_s=self.time_limit_s)
        )

    def every_power_loss(self, function: Callable[..., object], *args: object) -> Iterator[DiskState]:
        """Call it in a fork; then `tmp_path` holds each state that a power failure may leave, in turn. Linux alone."""
        from premortem.faults.sweep.forks import every_power_loss  # noqa: PLC0415 - as above

        return self._told(every_power_loss(function, *args, folder=self.folder, time_s=self.time_limit_s))

    def every_call(
        self, function: Callable[..., object], *args: object, call: str, effect: str = "raise ConnectionError"
    ) -> Iterator[Struck]:
        """Call it, with `effect` at the 1st, 2nd, 3rd ... call of `call`, named `package.module:function`."""
        from premortem.faults.sweep.here import sweep_calls  # noqa: PLC0415 - as above

        return self._told(sweep_calls(function, *args, call=call, effect=effect))

    def every_cut(
        self,
        function: Callable[[str], object],
        url: str,
        *,
        only: Collection[str] = (),
        before: Callable[[], object] = lambda: None,
    ) -> Iterator[Struck]:
        """Call it with a URL that leads through a proxy, cut at each message to and from the server in turn.

        `only`: at messages of these names, such as "COMMIT"; `before` puts back what a call leaves.
        """
        from premortem.faults.sweep.here import sweep_wire  # noqa: PLC0415 - as above

        return self._told(sweep_wire(function, url, only=only, before=before, seed=self.seed))

    def _told(self, points: Iterator[T]) -> Iterator[T]:
        """The same points, as far as the budget goes; of what struck, the test keeps what the last one told."""
        with closing(cast("Generator[T, None, None]", points)):
            for point in itertools.islice(points, self.budget):
                self.strikes.append(f"the sweep stands at {point}")
                yield point
                self.strikes.clear()


@pytest.fixture
def sweep(request: pytest.FixtureRequest, tmp_path: Path, strikes: list[str], premortem_seed: int) -> Sweep:
    """Fail a function at each of its operations: `every_crash`, `every_power_loss`, `every_call`, `every_cut`."""
    marker = request.node.get_closest_marker(MARKER)
    given = dict(marker.kwargs) if marker else {}
    unknown = given.keys() - {"budget", "time_limit_s"}
    if unknown or (marker and marker.args):
        raise ConfigurationError(
            f"@pytest.mark.sweep({', '.join(map(str, [*(marker.args if marker else ()), *sorted(unknown)]))}): takes "
            "budget=POINTS and time_limit_s=SECONDS by name; write @pytest.mark.sweep(budget=20)"
        )
    return Sweep(tmp_path, premortem_seed, strikes, **given)
