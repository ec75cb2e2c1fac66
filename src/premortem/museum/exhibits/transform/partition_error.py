"""On the first of the month there is no partition, and no sale gets in.

Cause:       The table is partitioned by month, and somebody made the partitions by hand, until November.
Effect:      CheckViolation: no partition of relation "sales" found for row; the whole load is rolled back, the sales of
             November in it, too.
Fix:         The load makes the partitions of the months that it holds, in its own transaction, one load at a time.
Prevention:  Never a DEFAULT partition to be safe: it takes the rows, and then the month's own can no longer be made.
"""

import psycopg

from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = psycopg.errors.CheckViolation
LOAD = "INSERT INTO sales SELECT * FROM bronze_sales b WHERE NOT EXISTS (SELECT FROM sales WHERE invoice = b.invoice)"
MONTHS = """
    SELECT DISTINCT to_char(day, '"sales_"YYYY_MM'), date_trunc('month', day)::date::text,
                    (date_trunc('month', day) + interval '1 month')::date::text
    FROM bronze_sales"""


def broken(url):
    """Load what is new."""
    with psycopg.connect(url) as db:
        db.execute(LOAD)


def fixed(url):
    """Load what is new, into partitions that are there."""
    with psycopg.connect(url) as db:
        db.execute("SELECT pg_advisory_xact_lock(hashtext('partitions of sales'))")
        for name, first, next_first in db.execute(MONTHS).fetchall():
            db.execute(
                f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF sales FOR VALUES FROM ('{first}') TO ('{next_first}')"
            )
        db.execute(LOAD)


def scenario(load, lab):
    """A day in November; then the night in which the first sale of December comes with the last of November."""
    db = lab.postgres
    db.query("CREATE TABLE bronze_sales (invoice int, day date)")
    db.query("CREATE TABLE sales (invoice int, day date) PARTITION BY RANGE (day)")
    db.query("CREATE TABLE sales_2011_11 PARTITION OF sales FOR VALUES FROM ('2011-11-01') TO ('2011-12-01')")
    db.query("INSERT INTO bronze_sales VALUES (1, '2011-11-29')")
    load(db.url)
    lab.check("November loads", db.value("SELECT count(*) FROM sales") == 1)

    with db.rows_added("bronze_sales", (2, "2011-11-30"), (3, "2011-12-01"), (4, "2012-01-01")):
        load(db.url)

    found = db.query("SELECT tableoid::regclass::text, invoice FROM sales ORDER BY invoice")
    months = ["sales_2011_11", "sales_2011_11", "sales_2011_12", "sales_2012_01"]
    lab.check("each sale is in the partition of its month", [month for month, _ in found] == months, f"{found}")


if __name__ == "__main__":
    run_alone(__file__)
