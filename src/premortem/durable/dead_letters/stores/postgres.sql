-- What could not be done. To read one: SELECT convert_from(document, 'UTF8')::jsonb FROM ...
CREATE TABLE IF NOT EXISTS {schema}.dead_letter (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL,
    key text NOT NULL,
    why text NOT NULL,
    state text NOT NULL CHECK (state IN ('dead', 'replaying', 'replayed', 'discarded')),
    document bytea NOT NULL,
    UNIQUE (name, key)
);
CREATE INDEX IF NOT EXISTS dead_letter_state ON {schema}.dead_letter (name, state, number);
