"""Reconciliation: what should be against what is, row by row where they differ, with a plan to mend it.

    sold = Reconciliation("sales", IterableSide(read_export), PostgresSide(url, "SELECT * FROM sales"),
                          Columns(key={"invoice": "text"}, values={"amount": "number"}, sums=("amount",)))
    report = sold.run()                      # missing, surplus, differing; events for alerts
    print(repair_plan(report, "sales").apply(connection))          # what it would do; dry_run=False does it

Laws: each side is seen at one moment (PostgreSQL: REPEATABLE READ); memory is bounded, whatever the number of rows; a
difference is only one if it is still there after `grace_s`, for rows are in flight; the work is told as events:
"reconcile.agreed", "reconcile.differs", "reconcile.orphans", "reconcile.failed".
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime

from premortem.durable.errors import DurableError, RepairConflictError, StoreDownError
from premortem.durable.reconciling import drill
from premortem.durable.reconciling.columns import Columns, Key, Kind
from premortem.durable.reconciling.lite import IterableSide, SqliteSide
from premortem.durable.reconciling.postgres import PostgresSide
from premortem.durable.reconciling.repair import Repaired, RepairPlan, Statement, repair_plan
from premortem.durable.reconciling.report import Difference, Orphans, Report
from premortem.durable.reconciling.sides import Look, Side, StreamedLook, Tally
from premortem.errors import ConfigurationError, MissingRequirementError
from premortem.events import emit
from premortem.ports import Clock, SystemClock

__all__ = [
    "Columns",
    "Difference",
    "IterableSide",
    "Look",
    "Orphans",
    "PostgresSide",
    "Reconciliation",
    "RepairConflictError",
    "RepairPlan",
    "Repaired",
    "Report",
    "Side",
    "SqliteSide",
    "Statement",
    "StreamedLook",
    "Tally",
    "orphans",
    "repair_plan",
]

_MOST = 10_000
_AT_ONCE = 500


@dataclass(frozen=True)
class Reconciliation:
    """A comparison that can be made again and again.

    `grace_s`: seconds after which differences are looked at once more before they count; where `Columns.changed` is
    named, a row that was changed within them is in flight, too (by `clock`). `most`: how many differences are listed.
    `wait` is called with the seconds of the grace.
    """

    name: str
    expected: Side
    actual: Side
    columns: Columns
    grace_s: float = 0.0
    most: int = _MOST
    clock: Clock = field(default_factory=SystemClock)
    wait: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        if not 0 <= self.grace_s <= 86400:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"Reconciliation.grace_s = {self.grace_s!r}: has to be 0 to 86400 seconds")
        if not 1 <= self.most <= 1_000_000:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"Reconciliation.most = {self.most!r}: has to be 1 to 1000000 differences")

    def run(self) -> Report:
        """Compare now. StoreDownError where a side does not answer, ConfigurationError where a query is wrong."""
        with _told_if_failed(self.name):
            report = self._compared()
        what = "agreed" if report.agrees else "differs"
        counts = {name: len(getattr(report, name)) for name in ("missing", "surplus", "differing")}
        emit(
            f"reconcile.{what}",
            reconciliation=self.name,
            expected_rows=report.expected.rows,
            actual_rows=report.actual.rows,
            **counts,
            unlisted=report.unlisted,
            in_flight=report.in_flight,
            elapsed_s=report.elapsed_s,
        )
        return report

    def run_every(self, every_s: float, stop: threading.Event, *, then: Callable[[Report], object] = str) -> None:
        """Compare, hand the report to `then`, and again in `every_s` seconds until `stop` is set.

        A side that is down is told as "reconcile.failed", and asked again the next time.
        """
        if not 0 < every_s <= 7 * 86400:
            raise ConfigurationError(f"run_every({every_s!r}): has to be above 0 and up to 604800 seconds")
        while not stop.is_set():
            with suppress(StoreDownError):  # run() has told it
                then(self.run())
            stop.wait(every_s)

    def _compared(self) -> Report:
        started_at, began = self.clock.now(), self.clock.monotonic()
        listed: list[Difference] = []
        unlisted = 0
        with _looking(self.expected, self.actual, self.columns) as (expected, actual):
            found = drill.tallied(expected, actual)
            for difference in drill.drill(expected, actual, self.columns, found):
                if len(listed) < self.most:
                    listed.append(difference)
                else:
                    unlisted += 1
        still = self._still(listed, found) if listed else []
        by: dict[str, tuple[Difference, ...]] = {
            what: tuple(one for one in still if one.what == what) for what in ("missing", "surplus", "differing")
        }
        return Report(
            self.name, self.columns, found.expected, found.actual, by["missing"], by["surplus"], by["differing"],
            unlisted, len(listed) - len(still), found.rows_read, started_at, self.clock.monotonic() - began,
        )  # fmt: skip

    def _still(self, listed: list[Difference], found: drill.Found) -> list[Difference]:
        """Those that are still there when the grace is over, as they are then."""
        if not self.grace_s:
            return listed
        self.wait(self.grace_s)
        keys = sorted({difference.key for difference in listed})
        still: list[Difference] = []
        with _looking(self.expected, self.actual, self.columns) as (expected, actual):
            now = self.clock.now()
            for begin in range(0, len(keys), _AT_ONCE):
                some = keys[begin : begin + _AT_ONCE]
                again = drill.merged(expected.rows_of(some), actual.rows_of(some), self.columns, found)
                still.extend(one for one in again if not self._is_young(one, now))
        return still

    def _is_young(self, difference: Difference, now: datetime) -> bool:
        moments = (self.columns.changed_at(row) for row in (difference.expected, difference.actual))
        return any(moment is not None and (now - moment).total_seconds() < self.grace_s for moment in moments)


def orphans(  # noqa: PLR0913 - by keyword only, each with a default
    name: str,
    children: Side,
    parents: Side,
    key: Mapping[str, Kind],
    *,
    most: int = _MOST,
    clock: Clock | None = None,
) -> Orphans:
    """Rows of `children` whose `key` no row of `parents` has; both queries name its columns alike, and leave NULLs out.

    Told as "reconcile.orphans" where there are any, else as "reconcile.agreed".
    """
    clock = clock or SystemClock()
    started_at, began = clock.now(), clock.monotonic()
    listed: list[Key] = []
    missing = rows = read = 0
    columns = Columns(key)
    with _told_if_failed(name), _looking(children, parents, columns) as (child, parent):
        known = iter(parent.rows(None, None))
        at = next(known, None)
        for one, group in itertools.groupby(child.rows(None, None)):
            count = sum(1 for _ in group)
            read += count
            while at is not None and at < one:
                at, read = next(known, None), read + 1
            if at == one:
                continue
            missing, rows = missing + 1, rows + count
            if len(listed) < most:
                listed.append(one)
    found = Orphans(name, tuple(listed), missing, rows, read, started_at, clock.monotonic() - began)
    emit(f"reconcile.{'orphans' if rows else 'agreed'}", reconciliation=name, rows=rows, parents_missing=missing)
    return found


@contextmanager
def _looking(expected: Side, actual: Side, columns: Columns) -> Iterator[tuple[Look, Look]]:
    """Both sides; the second at the moment of the first, where it can be."""
    for side in (expected, actual):
        if not hasattr(side, "look"):
            raise ConfigurationError(
                f"a side is {side!r:.80}: has to be something that can be looked at; write PostgresSide(connection, "
                "query), SqliteSide(connection, query) or IterableSide(rows)"
            )
    with ExitStack() as stack:
        first = stack.enter_context(expected.look(columns))
        yield first, stack.enter_context(actual.look(columns, first))


@contextmanager
def _told_if_failed(name: str) -> Iterator[None]:
    try:
        yield
    except (DurableError, ConfigurationError, MissingRequirementError) as error:
        emit("reconcile.failed", reconciliation=name, why=f"{error}")
        raise
