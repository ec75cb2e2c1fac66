-- Every day of every month that has sales.
-- needs: pg_temp.months
-- makes: silver.dim_date

create table if not exists silver.dim_date (
    date_key   date primary key,
    year       smallint not null,
    quarter    smallint not null,
    month      smallint not null,
    day        smallint not null,
    iso_week   smallint not null,
    weekday    smallint not null check (weekday between 1 and 7), -- 1 is Monday
    is_weekend boolean not null
);

insert into silver.dim_date
select d::date, extract(year from d), extract(quarter from d), extract(month from d), extract(day from d),
    extract(week from d), extract(isodow from d), extract(isodow from d) > 5
from pg_temp.months, generate_series(month, month + interval '1 month' - interval '1 day', interval '1 day') as d
on conflict do nothing;
