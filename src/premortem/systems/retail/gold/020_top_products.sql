-- The ten best products of each month, by net revenue; what is no product (postage, fees) takes no part.
-- needs: silver.fact_sales_daily, silver.dim_product, silver.retired
-- makes: gold.top_products

create table if not exists gold.top_products (
    month       date not null,
    place       integer not null,
    stockcode   text not null,
    description text not null,
    units       bigint not null,
    net         numeric not null,
    primary key (month, place)
);

-- What was made of months that are out by now stays.
delete from gold.top_products where month not in (select month from silver.retired);

insert into gold.top_products
select * from (
    select month, row_number() over (partition by month order by net desc, stockcode) as place, stockcode, description,
        units, net
    from (
        select date_trunc('month', date_key)::date as month, stockcode, max(description) as description,
            sum(units_sold - units_returned) as units, sum(revenue - refunds) as net
        from silver.fact_sales_daily join silver.dim_product using (product_key)
        where is_goods group by 1, 2
    ) as products
) as ranked
where place <= 10;
