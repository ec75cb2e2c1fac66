-- The outbox: messages that are written with the data, and how far they have been published.
--
-- Law: a message is never updated. Relays read it, and it is deleted when its time is over; that way a transaction that
-- holds back vacuum slows nobody down, for nobody ever walks again over what has been deleted.

-- What makes the ids of this outbox's messages different from those of every other, and into how many lanes they go.
CREATE TABLE IF NOT EXISTS {schema}.outbox_identity (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    identity uuid NOT NULL DEFAULT gen_random_uuid(),
    lanes smallint NOT NULL
);

-- The columns' order matters: defaults are computed from left to right, so the transaction has its number (xid) before
-- the message has its own (id). Therefore whoever is numbered after a snapshot has ids after those at that time.
-- All messages of a key are in one lane; a message without a key is in any.
CREATE TABLE IF NOT EXISTS {schema}.outbox (
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    lane smallint NOT NULL
        GENERATED ALWAYS AS (abs(mod(coalesce(hashtextextended(key, 0), id), {lanes}))::smallint) STORED,
    topic text NOT NULL CHECK (topic <> ''),
    key text,
    payload bytea NOT NULL,
    headers jsonb,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (lane, id)
);

-- For those that commit late: found by their transaction.
CREATE INDEX IF NOT EXISTS outbox_xid ON {schema}.outbox (xid, lane, id);

-- How far each lane has been published ('published'), its messages deleted ('purged'), and where it was earlier ('mark').
-- The newest row counts, and each save adds one and deletes the one before it: an update in place would make every look
-- walk over all the versions that a held-back vacuum leaves.
--
-- All that is visible in the snapshot `done` is done. Whoever was numbered after it has ids above `floor`. Between `done`
-- and `upto`, where that is not null, it is done up to the id `last`; `upto_floor` is the floor of `upto`.
CREATE TABLE IF NOT EXISTS {schema}.outbox_progress (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('published', 'purged', 'mark')),
    lane smallint NOT NULL,
    done pg_snapshot NOT NULL,
    floor bigint NOT NULL,
    upto pg_snapshot,
    upto_floor bigint NOT NULL,
    last bigint NOT NULL,
    saved_at timestamptz NOT NULL
);

CREATE INDEX IF NOT EXISTS outbox_progress_newest ON {schema}.outbox_progress (kind, lane, id);

-- Messages that could not be published, and those of the same key behind them, until somebody decides.
CREATE TABLE IF NOT EXISTS {schema}.outbox_parked (
    lane smallint NOT NULL,
    id bigint NOT NULL,
    topic text NOT NULL,
    key text,
    payload bytea NOT NULL,
    headers jsonb,
    created_at timestamptz NOT NULL,
    parked_at timestamptz NOT NULL,
    attempts integer NOT NULL,
    why text,
    released boolean NOT NULL DEFAULT false,
    PRIMARY KEY (lane, id)
);

INSERT INTO {schema}.outbox_identity (lanes) VALUES ({lanes}) ON CONFLICT DO NOTHING;

-- Nothing is done at the start: 3 is the first number that a transaction can have.
INSERT INTO {schema}.outbox_progress (kind, lane, done, floor, upto_floor, last, saved_at)
SELECT kind, lane, '3:3:', 0, 0, 0, clock_timestamp()
FROM generate_series(0, {lanes} - 1) AS lane, unnest(ARRAY['published', 'purged']) AS kind
WHERE NOT EXISTS (SELECT FROM {schema}.outbox_progress);
