"""Three sums that are right on the sample: a NULL, a zero and a second parcel.

Cause:       amount - discount is NULL where no discount is given, and sum() leaves it out; of a product that all came
             back, 0 are sold; a sale sent in two parcels is there twice after the join.
Effect:      Revenue too low, division by zero, revenue too high: three tickets, and the query passed its review.
Fix:         coalesce() what may be missing, NULLIF() what is divided by, add up each table before it is joined.
Prevention:  NOT NULL with a default where 0 is meant; test a query with a NULL, a zero and a second row of each table.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("the report says what was sold")


def broken(url):
    """Revenue, average price and parcels, by product."""
    with psycopg.connect(url) as db:
        return db.execute("""
            SELECT code, sum(amount - discount)::int, (sum(amount - discount) / sum(quantity))::int, count(parcel)
            FROM sales LEFT JOIN parcels USING (invoice)
            GROUP BY code ORDER BY code""").fetchall()


def fixed(url):
    """Revenue, average price (none where nothing is left) and parcels, by product."""
    with psycopg.connect(url) as db:
        return db.execute("""
            SELECT code, sum(net)::int, (sum(net) / NULLIF(sum(quantity), 0))::int, coalesce(sum(p.number), 0)::int
            FROM (SELECT *, amount - coalesce(discount, 0) AS net FROM sales) s
            LEFT JOIN (SELECT invoice, count(*) AS number FROM parcels GROUP BY invoice) p USING (invoice)
            GROUP BY code ORDER BY code""").fetchall()


def scenario(report, lab):
    """A usual day; then a sale without discount, then one that came back, then one in two parcels."""
    db = lab.postgres
    db.query("CREATE TABLE sales (invoice int, code text, quantity int, amount numeric, discount numeric)")
    db.query("CREATE TABLE parcels (invoice int, parcel int)")
    db.query("INSERT INTO sales VALUES (1, 'HOLDER', 5, 20, 0), (2, 'LANTERN', 4, 26, 2)")
    db.query("INSERT INTO parcels VALUES (1, 1), (2, 1)")
    lab.check("a usual day is added up", report(db.url) == [("HOLDER", 20, 4, 1), ("LANTERN", 24, 6, 1)])

    wrong = []
    for why, fault, right in (
        ("no discount", db.rows_added("sales", (3, "LANTERN", 2, 12, None)), ("LANTERN", 36, 6, 1)),
        ("all came back", db.rows_added("sales", (4, "HOLDER", -5, -20, 0)), ("HOLDER", 0, None, 1)),
        ("two parcels", db.rows_added("parcels", (2, 2)), ("LANTERN", 24, 6, 2)),
    ):
        with fault:
            try:
                (found,) = (row for row in report(db.url) if row[0] == right[0])
            except psycopg.errors.DivisionByZero as error:
                found = error
            if found != right:
                wrong.append(f"{why}: {found} and not {right}")
    lab.check("the report says what was sold", not wrong, "; ".join(wrong))


if __name__ == "__main__":
    run_alone(__file__)
