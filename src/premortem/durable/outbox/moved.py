"""An outbox that was restored from another server's dump: its positions made anew.

Positions are in numbers of transactions, and those begin anew on another server: some messages would not be seen for a
long time, and others be taken for published. A relay notices, and stops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from premortem.durable.outbox.statements import LANES, PENDING
from premortem.durable.sessions.postgres_tables import SCHEMA, plain_cursor, statement

if TYPE_CHECKING:
    import psycopg

_ADOPT = """
LOCK TABLE {schema}.outbox, {schema}.outbox_progress IN ACCESS EXCLUSIVE MODE;
CREATE TEMPORARY TABLE adopted ON COMMIT DROP AS SELECT w.id FROM {lanes} CROSS JOIN LATERAL {pending} AS w;
DELETE FROM {schema}.outbox WHERE id NOT IN (SELECT id FROM adopted);
UPDATE {schema}.outbox SET xid = '3';
DELETE FROM {schema}.outbox_progress;
INSERT INTO {schema}.outbox_progress (kind, lane, done, floor, upto_floor, last, saved_at)
SELECT kind, lane, '3:3:', 0, 0, 0, clock_timestamp()
FROM {schema}.outbox_identity CROSS JOIN generate_series(0, lanes - 1) AS lane,
    unnest(ARRAY['published', 'purged']) AS kind;
SELECT count(*) FROM {schema}.outbox
""".replace("{lanes}", LANES).replace("{pending}", PENDING)


def adopt(connection: psycopg.Connection[Any], *, schema: str = SCHEMA) -> int:
    """Make an outbox that was restored from another server's dump fit to this server: how many messages wait.

    Positions are in numbers of transactions, which begin anew on another server. What was published at the time of the
    dump is deleted, what was not waits again. Nobody may write meanwhile; relays are kept out by a lock.
    """
    with connection.transaction():
        cursor = plain_cursor(connection)
        cursor.execute(statement(_ADOPT, schema))
        while cursor.nextset():
            pass
        row = cursor.fetchone()
    assert row is not None
    return int(row[0])
