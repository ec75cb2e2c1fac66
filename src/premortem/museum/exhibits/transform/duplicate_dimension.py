"""A product with two names is in the dimension twice, and its sales count twice.

Cause:       SELECT DISTINCT code, name: one row for each pair. Somebody corrected a name in the middle of the month.
Effect:      The join finds two products for a sale; the revenue of that product doubles. No error anywhere.
Fix:         One row for each code, the latest name: DISTINCT ON (code), and a primary key that would say no otherwise.
Prevention:  A key on every dimension; after each step compare the sum of what went in and what came out.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("silver has the revenue of bronze")


def broken(url):
    """Rebuild the products, then the revenue of each."""
    with psycopg.connect(url) as db:
        db.execute("DROP TABLE IF EXISTS dim_product, silver_revenue")
        db.execute("CREATE TABLE dim_product AS SELECT DISTINCT code, name FROM bronze_sales")
        add_up(db)


def fixed(url):
    """Rebuild the products, one row for each, then the revenue of each."""
    with psycopg.connect(url) as db:
        db.execute("DROP TABLE IF EXISTS dim_product, silver_revenue")
        latest = "SELECT DISTINCT ON (code) code, name FROM bronze_sales ORDER BY code, day DESC"
        db.execute("CREATE TABLE dim_product (code text PRIMARY KEY, name text)")
        db.execute(f"INSERT INTO dim_product {latest}")
        add_up(db)


def add_up(db):
    """The revenue of each product, by its name: the same for both."""
    db.execute(
        "CREATE TABLE silver_revenue AS SELECT p.name, sum(s.amount) AS revenue"
        " FROM bronze_sales s JOIN dim_product p USING (code) GROUP BY p.name"
    )


def scenario(step, lab):
    """A month in which names stay; then one in which a name is corrected."""
    db = lab.postgres
    db.query("CREATE TABLE bronze_sales (code text, name text, day date, amount numeric)")
    db.query("INSERT INTO bronze_sales VALUES ('85123A', 'T-LIGHT HOLDER', '2011-12-01', 15)")
    db.query("INSERT INTO bronze_sales VALUES ('71053', 'METAL LANTERN', '2011-12-01', 20)")
    step(db.url)
    lab.check("usual names are added up", db.value("SELECT sum(revenue) FROM silver_revenue") == 35)

    with db.rows_added("bronze_sales", ("71053", "WHITE METAL LANTERN", "2011-12-02", 7)):
        step(db.url)

    revenue = dict(db.query("SELECT name, revenue::int FROM silver_revenue ORDER BY name"))
    lab.check("silver has the revenue of bronze", sum(revenue.values()) == 42, f"42 were sold, silver has {revenue}")
    lab.check("the latest name is used", "WHITE METAL LANTERN" in revenue, f"{revenue}")


if __name__ == "__main__":
    run_alone(__file__)
