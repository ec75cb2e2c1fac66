"""A product that the dimension does not know yet takes its sales with it.

Cause:       Facts are made with an inner JOIN on the dimension; a new product is sold before the product list has it.
Effect:      Its sales are not in silver. No error, no count; the revenue is a little too low, and stays so, since
             tomorrow's run loads tomorrow's sales.
Fix:         A member that is missing is made on the spot, marked as unknown, and filled in when the list comes; then
             every sale finds its product.
Prevention:  After each step compare count and sum of what went in and what came out; alert on members without a name.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("silver has every sale of bronze")
MEMBERS = """
    INSERT INTO dim_product (code, name) SELECT code, name FROM product_list
    ON CONFLICT (code) DO UPDATE SET name = excluded.name"""
UNKNOWN = """
    INSERT INTO dim_product (code) SELECT DISTINCT code FROM bronze_sales
    ON CONFLICT (code) DO NOTHING"""
FACTS = """
    INSERT INTO fact_sales
    SELECT product_id, day, sum(amount) FROM bronze_sales JOIN dim_product USING (code) GROUP BY product_id, day
    ON CONFLICT (product_id, day) DO UPDATE SET amount = excluded.amount"""


def broken(url):
    """Bring the dimension up to date, then the facts."""
    with psycopg.connect(url) as db:
        db.execute(MEMBERS)
        db.execute(FACTS)


def fixed(url):
    """Bring the dimension up to date, then what only the sales know of, then the facts."""
    with psycopg.connect(url) as db:
        db.execute(MEMBERS)
        db.execute(UNKNOWN)
        db.execute(FACTS)


def scenario(step, lab):
    """All products are listed; then one is sold first; then the list has it."""
    db = lab.postgres
    db.query("CREATE TABLE bronze_sales (code text, day date, amount numeric)")
    db.query("CREATE TABLE product_list (code text, name text)")
    db.query("CREATE TABLE dim_product (product_id int GENERATED ALWAYS AS IDENTITY, code text UNIQUE, name text)")
    db.query("CREATE TABLE fact_sales (product_id int, day date, amount numeric, UNIQUE (product_id, day))")
    db.query("INSERT INTO product_list VALUES ('85123A', 'T-LIGHT HOLDER'), ('71053', 'METAL LANTERN')")
    db.query("INSERT INTO bronze_sales VALUES ('85123A', '2011-12-01', 15), ('71053', '2011-12-01', 20)")
    step(db.url)
    lab.check("all sales of a usual day are there", db.value("SELECT sum(amount) FROM fact_sales") == 35)

    with db.rows_added("bronze_sales", ("23843", "2011-12-02", 7)):
        step(db.url)
        amount = db.value("SELECT sum(amount) FROM fact_sales")
        lab.check("silver has every sale of bronze", amount == 42, f"{amount} of 42")
        lab.check("nothing is named by guess", db.value("SELECT count(*) FROM dim_product WHERE name IS NULL") == 1)
        with db.rows_added("product_list", ("23843", "PAPER CRAFT")):
            step(db.url)
            name = db.value("SELECT name FROM dim_product JOIN fact_sales USING (product_id) WHERE amount = 7")
            lab.check("the name comes later", name == "PAPER CRAFT", name)


if __name__ == "__main__":
    run_alone(__file__)
