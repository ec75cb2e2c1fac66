-- The bronze layer: what the files said, and where each line of them went.
--
-- Run under an advisory lock: CREATE ... IF NOT EXISTS of two sessions at once can still collide in the catalogue.

create schema if not exists bronze;

create table if not exists bronze.batches (
    id          bigint generated always as identity primary key,
    source_file text not null,
    sha256      text not null check (sha256 ~ '^[0-9a-f]{64}$'),
    again       boolean not null default false,
    rows_read   bigint not null,
    rows_loaded bigint not null,
    rows_dead   bigint not null,
    started_at  timestamptz not null,
    finished_at timestamptz not null
);

-- What a run adds: rows that another file has brought already, and whether the file is loaded to its end.
alter table bronze.batches add column if not exists rows_known bigint not null default 0;
alter table bronze.batches add column if not exists complete boolean not null default true;
alter table bronze.batches drop constraint if exists batches_check;
alter table bronze.batches drop constraint if exists batches_add_up;
alter table bronze.batches add constraint batches_add_up check (rows_read = rows_loaded + rows_dead + rows_known);

-- The same bytes are loaded once. A second ingest of them waits here for the first one's commit, then is refused.
create unique index if not exists batches_sha256 on bronze.batches (sha256) where not again;

-- (batch, source_row) identifies a line, and no key says so: a unique index triples the load time (measured:
-- 339,000 rows a second without, 130,000 with one), and what it would guard against, half a file or a file twice, cannot
-- come about: a file, or a chunk of it with its row in bronze.chunks, is one transaction, and a file's SHA-256 is
-- unique in bronze.batches.
create table if not exists bronze.raw_transactions (
    invoiceno   text not null,
    stockcode   text not null,
    description text not null,
    quantity    integer not null,
    invoicedate timestamp not null,
    unitprice   numeric not null,
    customerid  bigint,
    country     text not null,
    source_file text not null,
    source_row  bigint not null,
    batch       bigint not null
);

create table if not exists bronze.dead_letters (
    rule         text not null,
    column_name  text not null,
    value        text,
    source_file  text not null,
    source_row   bigint not null,
    batch        bigint not null,
    failed_rules text[] not null,
    raw          jsonb not null
);

-- Who loads a file in chunks. A worker that is behind in `epoch` has lost the file to another one, and its next
-- transaction finds that out before it writes.
create table if not exists bronze.claims (
    batch      bigint primary key references bronze.batches,
    file_bytes bigint not null,
    sameness   text not null check (sameness in ('file', 'content')),
    epoch      integer not null,
    owner      text not null,
    chunks     integer not null,
    claimed_at timestamptz not null,
    changed_at timestamptz not null
);

-- The progress and the lineage: one row a chunk, in the transaction that loads the chunk. Rows begin_row up to
-- end_row of the file went through it. `seal` is a SHA-256 over the row and the seal before it.
create table if not exists bronze.chunks (
    batch        bigint not null references bronze.claims,
    chunk        integer not null,
    begin_at     bigint not null,
    end_at       bigint not null,
    begin_row    bigint not null,
    end_row      bigint not null,
    rows_read    bigint not null,
    rows_loaded  bigint not null,
    rows_dead    bigint not null,
    rows_known   bigint not null,
    epoch        integer not null,
    owner        text not null,
    code         text not null,
    rules        text not null,
    committed_at timestamptz not null,
    seal         text not null,
    primary key (batch, chunk),
    check (rows_read = rows_loaded + rows_dead + rows_known)
);

-- What rows there are, by content: the first 16 bytes of a SHA-256 over the eight values, and the how-manieth row
-- with these values it is. Filled by runs with --by content alone.
create table if not exists bronze.content_keys (
    key        uuid not null,
    occurrence integer not null,
    primary key (key, occurrence)
);

-- The batches whose rows have their content keys.
create table if not exists bronze.keyed_batches (batch bigint primary key references bronze.batches);

-- Months in which a batch had rows that was withdrawn since: the star has them still, and has to be made anew there.
create table if not exists bronze.withdrawn (month date primary key, at timestamptz not null);
