-- Who has claimed a checkpoint, and what its newest version is. Its row lock is what changes wait for.
CREATE TABLE IF NOT EXISTS {schema}.checkpoint_head (
    name text PRIMARY KEY,
    head bytea NOT NULL
);

-- The versions that are kept. To read one: SELECT convert_from(document, 'UTF8') FROM ...
CREATE TABLE IF NOT EXISTS {schema}.checkpoint (
    name text NOT NULL,
    version bigint NOT NULL,
    document bytea NOT NULL,
    saved_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (name, version)
);
