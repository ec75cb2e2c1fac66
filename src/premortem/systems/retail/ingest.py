"""One file of invoices into PostgreSQL: read, sort, load, account for every row.

Law: it happened whole or not at all. A report comes back only after the commit; an error means that nothing of
the file is there (`CommitUnknownError` alone says that it does not know).

Events, for whoever shows progress (`premortem.events`); rows are whole numbers, seconds are floats:

| event                  | fields                                                        |
| ---------------------- | ------------------------------------------------------------- |
| `retail.opened`        | `source`, `kind`, `bytes`, `sha256`                           |
| `retail.read`          | `rows`, `seconds`                                             |
| `retail.sorted`        | `rows`, `good`, `dead`, `seconds`                             |
| `retail.loaded`        | `rows` so far, `total`: once a chunk                          |
| `retail.dead_lettered` | `rows` so far, `total`: once a chunk                          |
| `retail.committing`    | `batch`                                                       |
| `retail.committed`     | `batch`, `read`, `loaded`, `dead`, `seconds`                  |
| `retail.warning`       | `text`: each of the report's warnings, as soon as it is known |
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from premortem.events import emit
from premortem.ports import SystemClock
from premortem.systems.retail.database import connect
from premortem.systems.retail.errors import TooManyDeadError
from premortem.systems.retail.grid import Table
from premortem.systems.retail.load import Counts, Job, load, prepare, refuse_again
from premortem.systems.retail.reader import read_table
from premortem.systems.retail.rules import Limits, Sorted, classify
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.source import Source, open_source
from premortem.systems.retail.target import parse_target


@dataclass(frozen=True, slots=True)
class Phases:
    """Seconds by phase: opening and hashing, connecting, reading, sorting, loading to the commit, and in all."""

    open: float
    connect: float
    read: float
    sort: float
    load: float
    total: float


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of a file: `read == loaded + dead`, as the database counted; `dead_by_rule` most frequent first."""

    source: str
    sha256: str
    batch: int
    read: int
    loaded: int
    dead: int
    dead_by_rule: tuple[tuple[str, int], ...]
    warnings: tuple[str, ...]
    seconds: Phases


def ingest(  # noqa: PLR0913 - the two that matter come first, the rest by name
    path: str | Path,
    url: str | None = None,
    *,
    settings: RetailSettings | None = None,
    sheet: str | None = None,
    again: bool = False,
    now: datetime | None = None,
) -> IngestReport:
    """Load the file at `path` into schema `bronze` of the database at `url` (default: PREMORTEM_POSTGRES_URL).

    `now` is the moment after which a date is in the future (default: the machine's clock); `again` loads a file
    whose very bytes were loaded before. Raises `ConfigurationError` and the errors below `RetailError`.
    """
    settings = settings if settings is not None else read_settings(url)
    target = parse_target(url if url is not None else settings.postgres_url)
    watch = _Stopwatch()
    source = open_source(Path(path))
    emit("retail.opened", source=source.name, kind=source.kind, bytes=len(source.data), sha256=source.sha256)
    watch.lap()
    # Connected before the long part: a wrong password is known in a moment, not after the whole file.
    with connect(target, settings) as session:
        prepare(session)
        if not again:
            refuse_again(session, source)
        watch.lap()
        table = _read(source, sheet, watch)
        rows = _sort(source, table, _limits(settings, now or watch.started), settings, watch)
        counts = load(session, Job(source, rows, table.rows.height, watch.started, again), settings.retail_chunk_rows)
    watch.lap()
    return _report(source, table, rows, counts, watch.phases())


class _Stopwatch:
    """When it began, and the seconds of each phase since."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        self.started = self._clock.now()
        self._marks = [self._clock.monotonic()]

    def lap(self) -> float:
        self._marks.append(self._clock.monotonic())
        return self._marks[-1] - self._marks[-2]

    def phases(self) -> Phases:
        opened, connected, read, sort, load = (after - before for before, after in pairwise(self._marks))
        return Phases(opened, connected, read, sort, load, self._marks[-1] - self._marks[0])


def _limits(settings: RetailSettings, now: datetime) -> Limits:
    return Limits.at(now, price_max=settings.retail_price_max, quantity_max=settings.retail_quantity_max)


def _read(source: Source, sheet: str | None, watch: _Stopwatch) -> Table:
    table = read_table(source, sheet)
    emit("retail.read", rows=table.rows.height, seconds=watch.lap())
    for warning in table.warnings:
        emit("retail.warning", text=warning)
    return table


def _sort(source: Source, table: Table, limits: Limits, settings: RetailSettings, watch: _Stopwatch) -> Sorted:
    rows = classify(table, limits)
    read = table.rows.height
    emit("retail.sorted", rows=read, good=rows.good.height, dead=rows.dead.height, seconds=watch.lap())
    _refuse_dead(source, rows, read, settings.retail_max_dead_share)
    return rows


def _report(source: Source, table: Table, rows: Sorted, counts: Counts, seconds: Phases) -> IngestReport:
    report = IngestReport(
        source=source.name,
        sha256=source.sha256,
        batch=counts.batch,
        read=table.rows.height,
        loaded=counts.loaded,
        dead=counts.dead,
        dead_by_rule=rows.dead_by_rule,
        warnings=table.warnings,
        seconds=seconds,
    )
    emit(
        "retail.committed",
        batch=report.batch,
        read=report.read,
        loaded=report.loaded,
        dead=report.dead,
        seconds=seconds.total,
    )
    return report


def _refuse_dead(source: Source, rows: Sorted, read: int, max_share: float) -> None:
    dead = rows.dead.height
    if dead <= max_share * read:
        return
    reasons = ", ".join(f"{rule} {count}" for rule, count in rows.dead_by_rule[:3])
    first = rows.dead.row(0, named=True)
    raise TooManyDeadError(
        f"{source.name}: {dead} of {read} rows ({dead / read:.1%}) break a rule ({reasons}; first in row "
        f"{first['source_row']}: {first['column_name']} is {first['value']!r}), more than the {max_share:.1%} allowed; "
        "nothing was loaded; check the file, or raise PREMORTEM_RETAIL_MAX_DEAD_SHARE",
        read=read,
        dead=dead,
    )
