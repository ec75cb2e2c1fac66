-- What was sold of a product to a customer on a day. A month is made beside the table and hung in, whole.
-- needs: pg_temp.months, pg_temp.sales, silver.dim_date, silver.dim_product, silver.dim_customer
-- makes: silver.fact_sales_daily

create table if not exists silver.fact_sales_daily (
    date_key       date not null references silver.dim_date,
    product_key    bigint not null references silver.dim_product,
    customer_key   bigint not null references silver.dim_customer,
    lines          integer not null check (lines > 0),
    units_sold     bigint not null,
    units_returned bigint not null, -- of cancellations: invoices that begin with C
    units_adjusted bigint not null, -- negative, and no cancellation
    revenue        numeric not null,
    refunds        numeric not null,
    primary key (date_key, product_key, customer_key)
) partition by range (date_key);

-- The months to be made, beside the table: lines find their month by themselves, and constraints come after the rows,
-- where they cost a join a month instead of a look-up a row.
create table silver.arriving (like silver.fact_sales_daily including constraints) partition by range (date_key);

do $$
declare
    month date;
begin
    for month in select m.month from pg_temp.months m order by 1 loop
        execute format('create table silver.%I partition of silver.arriving for values from (%L) to (%L)',
            'arriving_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
    end loop;
end $$;

-- Nearly every line is a group of its own: sorted, one group is held at a time; hashed, all of them, which is slower too.
set local enable_hashagg = off;

insert into silver.arriving
select day, product_key, customer_key, count(*),
    coalesce(sum(quantity) filter (where quantity > 0), 0),
    coalesce(-sum(quantity) filter (where quantity < 0 and invoiceno like 'C%'), 0),
    coalesce(-sum(quantity) filter (where quantity < 0 and invoiceno not like 'C%'), 0),
    coalesce(sum(amount) filter (where quantity > 0), 0),
    coalesce(-sum(amount) filter (where quantity < 0), 0)
from (select *, quantity * unitprice as amount from pg_temp.sales) s
join silver.dim_product p on p.stockcode = s.stockcode and s.day >= p.valid_from and s.day < p.valid_to
group by 1, 2, 3;

set local enable_hashagg = on;

do $$
declare
    month date;
    ready text;
    part  text;
begin
    for month in select m.month from pg_temp.months m order by 1 loop
        ready := 'arriving_' || to_char(month, 'YYYY_MM');
        part := 'fact_sales_daily_' || to_char(month, 'YYYY_MM');
        execute format('alter table silver.arriving detach partition silver.%I', ready);
        execute format('drop table if exists silver.%I', part);
        execute format('alter table silver.%I rename to %I', ready, part);
        execute format('alter table silver.%I
            add primary key (date_key, product_key, customer_key),
            add check (date_key >= %L and date_key < %L),
            add foreign key (date_key) references silver.dim_date,
            add foreign key (product_key) references silver.dim_product,
            add foreign key (customer_key) references silver.dim_customer', part, month, month + interval '1 month');
        execute format('alter table silver.fact_sales_daily attach partition silver.%I for values from (%L) to (%L)',
            part, month, month + interval '1 month');
    end loop;
end $$;

drop table silver.arriving;
