-- Who works on a key, or what came of it. To read a result: SELECT convert_from(result, 'UTF8') FROM ...
CREATE TABLE IF NOT EXISTS {schema}.idempotency (
    key text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('in_flight', 'done')),
    fingerprint text NOT NULL,
    token text NOT NULL,
    owner text NOT NULL,
    began timestamptz NOT NULL,
    lease timestamptz NOT NULL,
    forget timestamptz NOT NULL,
    result bytea
);
CREATE INDEX IF NOT EXISTS idempotency_forget ON {schema}.idempotency (forget);
CREATE INDEX IF NOT EXISTS idempotency_in_flight ON {schema}.idempotency (began) WHERE state = 'in_flight';
