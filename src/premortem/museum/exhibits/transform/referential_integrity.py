"""A foreign key that was dropped for the load lets sales lose their product.

Cause:       Each new list replaces the products. The foreign key stands in the way, so the job drops it first and puts
             it back NOT VALID: PostgreSQL then checks new rows alone.
Effect:      The list no longer has a product that was sold: its sales point to nothing, and vanish from every report
             that joins. The table has its foreign key, and everybody believes it.
Fix:         Leave the key where it is. Members are added and changed, never deleted; one that is no longer listed is
             marked so.
Prevention:  Look for orphans after each load; alert on constraints with convalidated = false in pg_constraint.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("every sale has its product")
KEY = "sales_code_fkey"


def broken(url):
    """Replace the products by the new list."""
    with psycopg.connect(url) as db:
        db.execute(f"ALTER TABLE sales DROP CONSTRAINT {KEY}")
        db.execute("DELETE FROM dim_product")
        db.execute("INSERT INTO dim_product SELECT code, name, true FROM product_list")
        db.execute(f"ALTER TABLE sales ADD CONSTRAINT {KEY} FOREIGN KEY (code) REFERENCES dim_product NOT VALID")


def fixed(url):
    """Bring the products up to date with the new list."""
    with psycopg.connect(url) as db:
        db.execute("UPDATE dim_product SET listed = code IN (SELECT code FROM product_list)")
        db.execute(
            "INSERT INTO dim_product SELECT code, name, true FROM product_list"
            " ON CONFLICT (code) DO UPDATE SET name = excluded.name"
        )


def scenario(refresh, lab):
    """The list has all that was sold; on the next day it lacks a product that is sold no more."""
    db = lab.postgres
    db.query("CREATE TABLE product_list (code text, name text)")
    db.query("CREATE TABLE dim_product (code text PRIMARY KEY, name text, listed bool)")
    db.query(f"CREATE TABLE sales (code text CONSTRAINT {KEY} REFERENCES dim_product, amount numeric)")
    db.query("INSERT INTO product_list VALUES ('85123A', 'T-LIGHT HOLDER'), ('71053', 'METAL LANTERN')")
    db.query("INSERT INTO dim_product SELECT code, name, true FROM product_list")
    db.query("INSERT INTO sales VALUES ('85123A', 15), ('71053', 20)")
    refresh(db.url)

    with db.rows_removed("product_list", code="71053"):
        refresh(db.url)

    orphans = db.value("SELECT count(*) FROM sales LEFT JOIN dim_product p USING (code) WHERE p.name IS NULL")
    lab.check("every sale has its product", orphans == 0, f"{orphans} of 2 sales without one")
    listed = db.query("SELECT code FROM dim_product WHERE listed")
    lab.check("what is no longer listed is marked", listed == [("85123A",)], f"{listed}")


if __name__ == "__main__":
    run_alone(__file__)
