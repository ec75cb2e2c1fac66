-- One row a customer; key 0 is everybody who gave no number.
-- needs: pg_temp.sales
-- makes: silver.dim_customer

create table if not exists silver.dim_customer (
    customer_key bigint primary key,
    country      text not null,
    first_at     timestamp not null,
    last_at      timestamp not null,
    check (first_at <= last_at)
);

insert into silver.dim_customer as c
select distinct on (customer_key) customer_key, case when customer_key = 0 then 'unknown' else country end,
    min(first_at) over (partition by customer_key), max(last_at) over (partition by customer_key)
from (
    select customer_key, country, min(invoicedate) as first_at, max(invoicedate) as last_at
    from pg_temp.sales group by 1, 2
) as lived
order by customer_key, last_at desc, country
on conflict (customer_key) do update
    set country = case when excluded.last_at >= c.last_at then excluded.country else c.country end,
        first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at);
