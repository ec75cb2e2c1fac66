-- Which months have to be made anew: those that a batch has touched since, or was withdrawn from, or that were asked for.
-- needs: bronze.batches, bronze.raw_transactions, bronze.withdrawn
-- makes: silver.applied, silver.retired, pg_temp.touched, pg_temp.months, pg_temp.sales

create schema if not exists silver;

-- How many rows of each batch are in the star by now.
create table if not exists silver.applied (batch bigint primary key, rows_loaded bigint not null);

-- Months that were taken out for their age: they do not come back, whatever arrives late.
create table if not exists silver.retired (
    month       date primary key,
    fact_rows   bigint not null,
    archive     text,
    retired_at  timestamptz not null
);

create temp table touched as
with changed as (
    select b.id from bronze.batches b left join silver.applied a on a.batch = b.id
    where b.rows_loaded is distinct from coalesce(a.rows_loaded, 0)
)
select date_trunc('month', r.invoicedate)::date as month, bool_or(r.batch in (select id from changed)) as changed
from bronze.raw_transactions r
where case current_setting('retail.scope')
    when 'changed' then r.batch in (select id from changed)
    when 'all' then true
    else date_trunc('month', r.invoicedate) between current_setting('retail.first_month')::date
        and current_setting('retail.last_month')::date
end
group by 1
union
select month, true from bronze.withdrawn where current_setting('retail.scope') in ('changed', 'all');

create temp table months as
select distinct month from pg_temp.touched where month not in (select month from silver.retired);

-- A view, not a table: reading bronze four times costs less than writing it once.
create temp view sales as
select invoiceno, stockcode, description, quantity, invoicedate, invoicedate::date as day, unitprice,
    coalesce(customerid, 0) as customer_key, country
from bronze.raw_transactions
where date_trunc('month', invoicedate) = any (array(select month::timestamp from pg_temp.months));
