"""Bronze to silver to gold: the star and the marts, made anew where something has changed.

Laws:
- A step is one transaction on one snapshot: whoever reads sees the star of before or the star of after.
- A month is made from all of bronze's rows of that month, so making it once more gives the same.
- One transformation at a time; a second one waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from importlib import resources
from typing import Literal

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import Backoff, Policy, Retry
from premortem.ports import Clock, SystemClock
from premortem.systems.retail.database import Session, open_session
from premortem.systems.retail.errors import DatabaseBusyError, DatabaseUnreachableError
from premortem.systems.retail.load import prepare
from premortem.systems.retail.settings import RetailSettings, read_settings
from premortem.systems.retail.steps import SqlFile, read_step, run_step
from premortem.systems.retail.target import parse_target

Layer = Literal["silver", "gold"]
KEEPS_HISTORY: Literal[2] = 2
# The first eight bytes of sha256("premortem.systems.retail.transform"), halved.
_LOCK = 3_015_822_140_113_908_571
_MONTHS = """
select month, month in (select month from silver.retired) from pg_temp.touched
where changed or month in (select month from pg_temp.months) or current_setting('retail.scope') = 'months'
group by 1 order by 1
"""


@dataclass(frozen=True, slots=True)
class StepReport:
    """A step that was committed: how many statements and seconds, and the months that were made anew (silver).

    `left_out` are months for which there was something to do, and which retention has taken out: they were left alone.
    """

    step: Layer
    statements: int
    months: tuple[date, ...]
    seconds: float
    left_out: tuple[date, ...] = ()


@dataclass(frozen=True, slots=True)
class Span:
    """The months from that of `first` to that of `last`, both included."""

    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ConfigurationError(f"{self.first} to {self.last}: ends before it begins; name the earlier day first")


def transform(  # noqa: PLR0913 - by name
    url: str | None = None,
    settings: RetailSettings | None = None,
    *,
    layers: Sequence[Layer] = ("silver", "gold"),
    span: Span | None = None,
    scd: Literal[1, 2] | None = None,
    rebuild: bool = False,
    clock: Clock | None = None,
) -> tuple[StepReport, ...]:
    """Make the layers anew, as far as bronze has changed; with `span`, those months in any case (a backfill).

    `scd` is the kind of dim_product: 1 overwrites descriptions, 2 keeps their history and makes all months anew; None
    is the kind that the star has, and 1 for a new one. `rebuild` throws the star away first, which a change of `scd`
    asks for. Raises a `DatabaseError`; `TransformError` names file, statement and line.
    """
    settings = settings if settings is not None else read_settings(url)
    target = parse_target(url if url is not None else settings.postgres_url)
    clock = clock or SystemClock()
    policy = Policy(
        "retail-transform",
        Retry(settings.retail_attempts, on=(DatabaseUnreachableError, DatabaseBusyError), wait=Backoff(0.1, cap_s=5)),
    )

    def attempt(layer: Layer) -> StepReport:
        began = clock.monotonic()
        session = open_session(target, settings, "the step was rolled back")
        try:
            prepare(session)
            alone(session)
            count, months, left_out = _step(session, layer, span, scd, rebuild=rebuild)
        finally:
            session.close()
        report = StepReport(layer, count, months, clock.monotonic() - began, left_out)
        emit("retail.step", step=layer, statements=count, months=len(months), seconds=report.seconds)
        return report

    return tuple(policy.call(attempt, layer) for layer in layers)


def _scope(span: Span | None, scd: Literal[1, 2], *, rebuild: bool) -> dict[str, str]:
    if span is not None and scd < KEEPS_HISTORY:
        first, last = span.first.replace(day=1), span.last.replace(day=1)
        return {"scope": "months", "first_month": str(first), "last_month": str(last)}
    return {"scope": "all" if scd == KEEPS_HISTORY or rebuild else "changed", "first_month": "", "last_month": ""}


def alone(session: Session) -> None:
    """Nobody else transforms or retires until the session ends."""
    with session.talking("waiting for another transformation"):
        session.connection.execute("select pg_advisory_lock(%s)", [_LOCK])
        session.connection.commit()


def _step(
    session: Session, layer: Layer, span: Span | None, scd: Literal[1, 2] | None, *, rebuild: bool
) -> tuple[int, tuple[date, ...], tuple[date, ...]]:
    with session.talking("beginning a step"):
        session.connection.execute("set transaction isolation level repeatable read")
        # Sorts of a few hundred thousand lines, which the default of 4 MB would send to the disk.
        session.connection.execute("set local work_mem = '128MB'")
    kind: Literal[1, 2] = _one_kind(session, scd, rebuild=rebuild) if layer == "silver" else 1
    with session.talking("beginning a step"):
        for name, value in _scope(span, kind, rebuild=rebuild).items():
            session.connection.execute("select set_config(%s, %s, true)", [f"retail.{name}", value])
    count = run_step(session, layer, _files(layer, kind))
    months: tuple[date, ...] = ()
    left_out: tuple[date, ...] = ()
    with session.talking("committing the step"):
        if layer == "silver":
            rows = session.connection.execute(_MONTHS).fetchall()
            months = tuple(month for month, out in rows if not out)
            left_out = tuple(month for month, out in rows if out)
        session.connection.commit()
    return count, months, left_out


def _files(layer: Layer, scd: Literal[1, 2]) -> tuple[SqlFile, ...]:
    package = resources.files(__package__)
    folders = [package / layer]
    if layer == "silver" and scd == KEEPS_HISTORY:
        folders.append(package / "silver_type2")
    return read_step(folders)


def _one_kind(session: Session, scd: Literal[1, 2] | None, *, rebuild: bool) -> Literal[1, 2]:
    """A star is of one kind: facts that point to overwritten products and to versions of them cannot be mixed."""
    with session.talking("looking at the star"):
        execute = session.connection.execute
        execute("create schema if not exists silver")
        execute("create table if not exists silver.kind (scd smallint primary key)")
        row = execute("select scd from silver.kind").fetchone()
        was = int(row[0]) if row else None
        if rebuild:
            # Without CASCADE: a view that somebody has made on the star is not ours to drop.
            execute("drop table if exists silver.fact_sales_daily, silver.dim_product")
            execute("delete from silver.kind")
        kind: Literal[1, 2] = scd or (KEEPS_HISTORY if was == KEEPS_HISTORY else 1)
        execute("insert into silver.kind select %s where not exists (select from silver.kind)", [kind])
    if was not in {None, kind} and not rebuild:
        raise ConfigurationError(
            f"scd={kind}: this star was made with type {was}; say rebuild=True (--rebuild) to make it anew"
        )
    return kind
