-- Nothing is lost between the layers, nothing counted twice: else all of the step is taken back.
-- needs: bronze.withdrawn, pg_temp.months, pg_temp.sales, silver.fact_sales_daily, silver.applied

do $$
declare
    sales record;
    facts record;
begin
    select count(*)::numeric as lines, coalesce(sum(quantity), 0)::numeric as units,
        coalesce(sum(quantity * unitprice), 0) as net
    into sales from pg_temp.sales;
    select coalesce(sum(lines), 0)::numeric as lines,
        coalesce(sum(units_sold - units_returned - units_adjusted), 0)::numeric as units,
        coalesce(sum(revenue - refunds), 0) as net
    into facts from silver.fact_sales_daily where date_trunc('month', date_key) in (select month from pg_temp.months);
    if sales is distinct from facts then
        raise exception 'bronze has % lines, % units, % net, and silver % lines, % units, % net',
            sales.lines, sales.units, sales.net, facts.lines, facts.units, facts.net;
    end if;
end $$;

insert into silver.applied select id, rows_loaded from bronze.batches
where current_setting('retail.scope') in ('changed', 'all')
on conflict (batch) do update set rows_loaded = excluded.rows_loaded;

-- What was withdrawn from a month that is out stays in its archive and in the marts.
delete from bronze.withdrawn where current_setting('retail.scope') in ('changed', 'all');
