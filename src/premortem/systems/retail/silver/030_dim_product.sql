-- One row a stock code, overwritten by the latest description (slowly changing dimension, type 1).
-- needs: pg_temp.sales
-- makes: silver.dim_product

create table if not exists silver.dim_product (
    product_key  bigint generated always as identity primary key,
    stockcode    text not null,
    description  text not null,
    is_goods     boolean not null, -- POST, D, M, BANK CHARGES and the like are none
    valid_from   date not null,
    valid_to     date not null,    -- exclusive
    described_at timestamp not null,
    unique (stockcode, valid_from),
    check (valid_from < valid_to)
);

insert into silver.dim_product as p (stockcode, description, is_goods, valid_from, valid_to, described_at)
select distinct on (stockcode) stockcode, description, stockcode ~ '^[0-9]{5}', '-infinity'::date, 'infinity'::date,
    described_at
from (
    select stockcode, description, max(invoicedate) as described_at, bool_or(unitprice > 0) as priced
    from pg_temp.sales group by 1, 2
) as named
-- A line without a price is a note on the stock ("damaged", "?"), seldom a name.
order by stockcode, priced desc, described_at desc, description
on conflict (stockcode, valid_from) do update
    set description = excluded.description, described_at = excluded.described_at
    where p.described_at <= excluded.described_at and p.description <> excluded.description;
