"""What is in an outbox: how much waits, for how long, what is parked, which lanes are worked on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from premortem.durable.outbox.statements import LANES, PENDING
from premortem.durable.sessions.postgres_tables import SCHEMA, plain_cursor, statement

if TYPE_CHECKING:
    import psycopg

COUNT_MOST = 100_000

_STATUS = """
SELECT p.lane, w.depth, w.oldest, clock_timestamp(),
    (SELECT count(*) FROM {schema}.outbox_parked AS parked WHERE parked.lane = p.lane),
    EXISTS (
        SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = p.lane AND granted AND objsubid = 2
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND classid = hashtext('{schema} outbox lane')::bigint & 4294967295
    )
FROM {lanes}
CROSS JOIN LATERAL (
    SELECT count(*) AS depth, min(created_at) AS oldest FROM (
        SELECT created_at FROM {pending} AS pending LIMIT %(most)s
    ) AS few
) AS w
ORDER BY p.lane
""".replace("{lanes}", LANES).replace("{pending}", PENDING)


@dataclass(frozen=True, slots=True)
class LaneStatus:
    """One lane: `depth` messages wait (COUNT_MOST at least, if that many), the oldest for `oldest_s` seconds.

    `owned`: a relay has it at the moment.
    """

    lane: int
    depth: int
    oldest_s: float
    parked: int
    owned: bool


@dataclass(frozen=True, slots=True)
class Status:
    """All lanes."""

    lanes: tuple[LaneStatus, ...]

    @property
    def depth(self) -> int:
        """Messages that wait: what to alert on is `oldest_s`."""
        return sum(lane.depth for lane in self.lanes)

    @property
    def oldest_s(self) -> float:
        """The age of the oldest message that waits, in seconds; 0 where none does."""
        return max((lane.oldest_s for lane in self.lanes), default=0.0)

    @property
    def parked(self) -> int:
        """Messages that could not be published, and those behind them."""
        return sum(lane.parked for lane in self.lanes)


def status(connection: psycopg.Connection[Any], *, schema: str = SCHEMA) -> Status:
    """How the outbox is, as this connection sees it."""
    rows = plain_cursor(connection).execute(statement(_STATUS, schema), {"most": COUNT_MOST}).fetchall()
    return Status(
        tuple(
            LaneStatus(lane, depth, _age_s(oldest, now), parked, owned)
            for lane, depth, oldest, now, parked, owned in rows
        )
    )


def _age_s(oldest: datetime | None, now: datetime) -> float:
    return max(0.0, (now - oldest).total_seconds()) if oldest else 0.0
