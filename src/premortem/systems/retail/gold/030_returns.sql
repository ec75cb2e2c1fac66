-- What comes back, by product and month. Of nothing sold there is no rate: null, and no division by zero.
-- needs: silver.fact_sales_daily, silver.dim_product, silver.retired
-- makes: gold.returns

create table if not exists gold.returns (
    month          date not null,
    stockcode      text not null,
    units_sold     bigint not null,
    units_returned bigint not null,
    refunds        numeric not null,
    rate           numeric,
    primary key (month, stockcode)
);

-- What was made of months that are out by now stays.
delete from gold.returns where month not in (select month from silver.retired);

insert into gold.returns
select date_trunc('month', date_key)::date, stockcode, sum(units_sold), sum(units_returned), sum(refunds),
    round(sum(units_returned) / nullif(sum(units_sold), 0), 4)
from silver.fact_sales_daily join silver.dim_product using (product_key)
group by 1, 2 having sum(units_returned) > 0;
