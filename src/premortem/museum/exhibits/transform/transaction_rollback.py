"""An error that is caught within a transaction makes its COMMIT a rollback.

Cause:       A row is refused, the loop logs it and goes on; but in PostgreSQL the transaction is aborted, and every
             further statement of it only says so. COMMIT then rolls back, and reports no error.
Effect:      One true error in the log, "current transaction is aborted" for every row after it; the report says that
             the rows before it are loaded, and there is none.
Fix:         A savepoint for each row (psycopg: db.transaction()): what belongs to a bad row goes back, the rest stays.
Prevention:  No caught database error without a savepoint around it. Autocommit is no way out: it keeps half a row.
"""

import logging

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("what is said to be loaded is there")


def broken(sales, url):
    """Load the sales, leave the bad ones out; how many went in."""
    loaded = 0
    with psycopg.connect(url) as db:
        for sale in sales:
            try:
                load(sale, db)
                loaded += 1
            except psycopg.Error as error:
                logging.warning("left out %s: %s", sale, error)
    return loaded


def fixed(sales, url):
    """The same; a bad one is left out with all that belongs to it."""
    loaded = 0
    with psycopg.connect(url) as db:
        for sale in sales:
            try:
                with db.transaction():
                    load(sale, db)
                loaded += 1
            except psycopg.Error as error:
                logging.warning("left out %s: %s", sale, error)
    return loaded


def load(sale, db):
    """Two statements that belong together: the stock, and the sale."""
    code, quantity = sale
    db.execute("UPDATE stock SET quantity = quantity - %s WHERE code = %s", (quantity, code))
    db.execute("INSERT INTO sales VALUES (%s, %s)", (code, quantity))


def scenario(job, lab):
    """Sales of a product that is listed; then three, of which the second is of one that somebody has deleted."""
    db = lab.postgres
    db.query("CREATE TABLE products (code text PRIMARY KEY)")
    db.query("INSERT INTO products VALUES ('HOLDER'), ('LANTERN')")
    db.query("CREATE TABLE sales (code text REFERENCES products, quantity int)")
    db.query("CREATE TABLE stock AS SELECT code, 90 AS quantity FROM products")
    lab.check("usual sales are loaded", job([("HOLDER", 10)], db.url) == 1)

    with db.rows_removed("products", code="LANTERN"):
        said = job([("HOLDER", 1), ("LANTERN", 2), ("HOLDER", 4)], db.url)

    there = db.value("SELECT count(*) FROM sales") - 1
    lab.check("what is said to be loaded is there", said == there, f"{said} said to be loaded, {there} there")
    stock = dict(db.query("SELECT code, quantity FROM stock"))
    lab.check("no half of a bad one is kept", stock == {"HOLDER": 75, "LANTERN": 90}, f"{stock}")


if __name__ == "__main__":
    run_alone(__file__)
