-- One row for each description that a stock code has had, day by day (slowly changing dimension, type 2).
-- needs: bronze.raw_transactions, pg_temp.sales
-- makes: silver.dim_product

create table if not exists silver.dim_product (
    product_key  bigint generated always as identity primary key,
    stockcode    text not null,
    description  text not null,
    is_goods     boolean not null,
    valid_from   date not null,
    valid_to     date not null,    -- exclusive
    described_at timestamp not null,
    unique (stockcode, valid_from),
    check (valid_from < valid_to)
);

-- The name of a day is the one most of its lines have; a code that never had a price keeps the name it came with.
create temp table versions as
with counted as (
    select stockcode, invoicedate::date as day, description, bool_or(unitprice > 0) as priced, count(*) as lines,
        max(invoicedate) as described_at
    from bronze.raw_transactions group by 1, 2, 3
), named as (
    select distinct on (stockcode, day) * from counted c
    where priced or not exists (select from counted o where o.stockcode = c.stockcode and o.priced)
    order by stockcode, day, priced desc, lines desc, description
), changed as (
    select *, lag(description) over (partition by stockcode order by day) as before from named
), kept as (
    select stockcode, description, described_at,
        case when before is null then '-infinity'::date else day end as valid_from
    from changed where before is distinct from description
)
select *, coalesce(lead(valid_from) over (partition by stockcode order by valid_from), 'infinity') as valid_to from kept;

-- No fact may point to a version that is about to go: all of them are made anew further down.
do $$
declare part regclass;
begin
    if to_regclass('silver.fact_sales_daily') is not null then
        for part in select inhrelid::regclass from pg_inherits where inhparent = 'silver.fact_sales_daily'::regclass loop
            execute format('drop table %s', part);
        end loop;
    end if;
end $$;

delete from silver.dim_product p where not exists (
    select from pg_temp.versions v where (v.stockcode, v.valid_from) = (p.stockcode, p.valid_from)
);

insert into silver.dim_product as p (stockcode, description, is_goods, valid_from, valid_to, described_at)
select stockcode, description, stockcode ~ '^[0-9]{5}', valid_from, valid_to, described_at from pg_temp.versions
on conflict (stockcode, valid_from) do update
    set description = excluded.description, valid_to = excluded.valid_to, described_at = excluded.described_at;
