"""What a relay says to the database.

The statements look from a known place on, never from the start: what was deleted before that place costs nothing, even
while an old transaction keeps vacuum from clearing it away. Two ways lead to the messages of a window (see `position`):
by id for transactions numbered after its beginning, and by transaction for those that were at work at that time.
"""

from __future__ import annotations

_WINDOW = """
    SELECT * FROM (
        SELECT {columns} FROM pg_snapshot_xip(%(done)s::pg_snapshot) AS at_work (xid)
        CROSS JOIN LATERAL (
            SELECT *, ctid AS place FROM {schema}.outbox
            WHERE lane = %(lane)s AND xid = at_work.xid AND id > %(last)s ORDER BY id LIMIT %(limit)s
        ) AS o
        WHERE pg_visible_in_snapshot(at_work.xid, %(upto)s::pg_snapshot)
    ) AS late
    UNION ALL
    SELECT * FROM (
        SELECT {columns} FROM (SELECT *, ctid AS place FROM {schema}.outbox) AS o
        WHERE lane = %(lane)s AND id > greatest(%(floor)s::bigint, %(last)s::bigint)
            AND xid >= pg_snapshot_xmax(%(done)s::pg_snapshot) AND pg_visible_in_snapshot(xid, %(upto)s::pg_snapshot)
        ORDER BY id LIMIT %(limit)s
    ) AS new
    ORDER BY id LIMIT %(limit)s
"""

# At least one message, and no more bytes than asked for. A compressed payload is measured without being read.
FETCH = """
SELECT found, id, topic, key, payload, headers, created_at FROM (
    SELECT *, count(*) OVER () AS found, sum(octet_length(payload)) OVER (ORDER BY id) AS total FROM (
        {window}
    ) AS few
) AS measured
WHERE total <= %(bytes)s OR total = octet_length(payload) ORDER BY id
""".replace("{window}", _WINDOW.replace("{columns}", "o.id, o.topic, o.key, o.payload, o.headers, o.created_at"))

# A message is never updated, so it stays at its place (ctid).
PURGE = """
WITH batch AS MATERIALIZED ({window}),
    gone AS (DELETE FROM {schema}.outbox WHERE ctid = ANY (ARRAY(SELECT place FROM batch)))
SELECT count(*), coalesce(max(id), 0) FROM batch
""".replace("{window}", _WINDOW.replace("{columns}", "o.id, o.place"))

# The last id, then a transaction of our own, then the snapshot. A snapshot ends behind the last transaction that has
# *ended*; one that was numbered higher and is still at work is not even listed in it. Ours has ended, so the snapshot
# ends behind it; whoever is not in the snapshot was numbered after ours, and has ids above this one. (Without it, 58 of
# 3,600 messages of eight writers were lost.)
LAST_ID = "SELECT CASE WHEN is_called THEN last_value ELSE last_value - 1 END, pg_current_xact_id() FROM {sequence}"
SNAPSHOT = "SELECT pg_current_snapshot()::text"
SEQUENCE = "SELECT pg_get_serial_sequence('{schema}.outbox', 'id')"

NEWEST = """
SELECT id, done::text, floor, upto::text, upto_floor, last FROM {schema}.outbox_progress
WHERE kind = %(kind)s AND lane = %(lane)s ORDER BY id DESC LIMIT 1
"""
CLAIM = "SELECT pg_try_advisory_lock(hashtext('{schema} outbox lane'), %(lane)s)"
RELEASE = "SELECT pg_advisory_unlock(hashtext('{schema} outbox lane'), %(lane)s)"

# The row before is named by its id, so it is found without a walk.
SAVE = """
WITH before AS (DELETE FROM {schema}.outbox_progress WHERE id = %(id)s)
INSERT INTO {schema}.outbox_progress (kind, lane, done, floor, upto, upto_floor, last, saved_at)
VALUES (%(kind)s, %(lane)s, %(done)s, %(floor)s, %(upto)s, %(upto_floor)s, %(last)s, %(now)s)
RETURNING id
"""

# What is waiting in a lane: `p` is how far it has come. OFFSET 0 is a fence: joined, the whole lane would be walked.
PENDING = """
    (
        SELECT o.id, o.created_at FROM {schema}.outbox AS o
        WHERE o.lane = p.lane AND o.id > p.floor AND o.xid >= pg_snapshot_xmax(p.done)
            AND NOT (p.upto IS NOT NULL AND o.id <= p.last AND pg_visible_in_snapshot(o.xid, p.upto))
        UNION ALL
        SELECT o.id, o.created_at FROM pg_snapshot_xip(p.done) AS at_work (xid)
        CROSS JOIN LATERAL (
            SELECT * FROM {schema}.outbox WHERE lane = p.lane AND xid = at_work.xid OFFSET 0
        ) AS o
        WHERE NOT (p.upto IS NOT NULL AND o.id <= p.last AND pg_visible_in_snapshot(o.xid, p.upto))
    )
"""
LANES = """
    {schema}.outbox_identity CROSS JOIN generate_series(0, lanes - 1) AS each (lane) CROSS JOIN LATERAL (
        SELECT lane, done, floor, upto, upto_floor, last FROM {schema}.outbox_progress
        WHERE kind = 'published' AND lane = each.lane ORDER BY id DESC LIMIT 1
    ) AS p
"""
WAITING = """
SELECT p.lane FROM {lanes} WHERE EXISTS (SELECT FROM {pending} AS one)
    OR EXISTS (SELECT FROM {schema}.outbox_parked AS parked WHERE parked.lane = p.lane AND released)
""".replace("{lanes}", LANES).replace("{pending}", PENDING)

IDENTITY = "SELECT identity::text, lanes FROM {schema}.outbox_identity"
# A number that this server has not given yet: the outbox came here from another one. Asked of each lane's position, and
# of its newest message that waits.
MOVED = """
SELECT bool_or(
    pg_snapshot_xmax(p.done) > pg_snapshot_xmax(pg_current_snapshot())
    OR (SELECT xid FROM {schema}.outbox AS o WHERE o.lane = p.lane AND o.id > p.floor ORDER BY id DESC LIMIT 1)
        > pg_snapshot_xmax(pg_current_snapshot())
) FROM {lanes}
""".replace("{lanes}", LANES)

MARK = """
INSERT INTO {schema}.outbox_progress (kind, lane, done, floor, upto_floor, last, saved_at)
VALUES ('mark', %(lane)s, %(done)s, %(floor)s, 0, 0, %(now)s)
"""
NEWEST_MARK = "SELECT max(saved_at) FROM {schema}.outbox_progress WHERE kind = 'mark' AND lane = %(lane)s"
RIPE_MARK = """
SELECT id, done::text, floor FROM {schema}.outbox_progress
WHERE kind = 'mark' AND lane = %(lane)s AND saved_at <= %(before)s ORDER BY id DESC LIMIT 1
"""
FORGET_MARKS = "DELETE FROM {schema}.outbox_progress WHERE kind = 'mark' AND lane = %(lane)s AND id <= %(id)s"

PARK = """
INSERT INTO {schema}.outbox_parked (lane, id, topic, key, payload, headers, created_at, parked_at, attempts, why)
SELECT lane, id, topic, key, payload, headers, created_at, %(now)s, %(attempts)s, %(why)s
FROM {schema}.outbox WHERE lane = %(lane)s AND id = ANY (%(ids)s) ON CONFLICT DO NOTHING
"""
PARKED = "SELECT count(*) FROM (SELECT FROM {schema}.outbox_parked LIMIT %(limit)s) AS few"
HELD = "SELECT DISTINCT key FROM {schema}.outbox_parked WHERE lane = %(lane)s AND key IS NOT NULL"
# Everything of a key that was released, the messages that came behind it since then, too.
RELEASED = """
SELECT id, topic, key, payload, headers, created_at FROM {schema}.outbox_parked
WHERE lane = %(lane)s
    AND (released OR key IN (SELECT key FROM {schema}.outbox_parked WHERE lane = %(lane)s AND released))
ORDER BY id LIMIT %(limit)s
"""
UNPARK = "DELETE FROM {schema}.outbox_parked WHERE lane = %(lane)s AND id = ANY (%(ids)s)"
HOLD_AGAIN = """
UPDATE {schema}.outbox_parked SET released = false,
    attempts = CASE WHEN id = %(id)s THEN attempts + %(attempts)s ELSE attempts END,
    why = CASE WHEN id = %(id)s THEN %(why)s ELSE why END
WHERE lane = %(lane)s AND (id = %(id)s OR key = %(key)s)
"""
