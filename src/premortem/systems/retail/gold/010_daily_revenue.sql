-- The shop by day.
-- needs: silver.fact_sales_daily, silver.retired
-- makes: gold.daily_revenue

create schema if not exists gold;

create table if not exists gold.daily_revenue (
    date_key  date primary key,
    lines     bigint not null,
    customers bigint not null,
    units     bigint not null,
    revenue   numeric not null,
    refunds   numeric not null,
    net       numeric not null
);

-- What was made of months that are out by now stays.
delete from gold.daily_revenue where date_trunc('month', date_key) not in (select month from silver.retired);

insert into gold.daily_revenue
select date_key, sum(lines), count(distinct nullif(customer_key, 0)), sum(units_sold), sum(revenue), sum(refunds),
    sum(revenue - refunds)
from silver.fact_sales_daily group by date_key;
