"""A bronze table that is missing is created on the spot, and silver is built from nothing.

Cause:       CREATE TABLE IF NOT EXISTS stands in front of the step, "so that it also runs on an empty machine"; this
             night a clean-up has dropped the table.
Effect:      No error, a green run, and yesterday's revenue replaced by none in every report.
Fix:         A step asks for its inputs before its first statement and creates none of them; all that are missing are
             named in one error, with the step that makes them.
Prevention:  Only the ingest may create bronze; a step declares what it reads; compare row counts with the day before.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("an input that is missing is an error")
INPUTS = ("bronze_sales", "bronze_returns")
REBUILD = (
    "DELETE FROM silver_revenue",
    "INSERT INTO silver_revenue SELECT day, sum(amount) FROM bronze_sales GROUP BY day",
    "UPDATE silver_revenue s SET revenue = revenue - r.amount FROM bronze_returns r WHERE r.day = s.day",
)


class InputMissing(Exception):
    """The step was not begun; the message says why."""


def broken(url):
    """Rebuild silver, on whatever machine."""
    with psycopg.connect(url) as db:
        for table in INPUTS:
            db.execute(f"CREATE TABLE IF NOT EXISTS {table} (day date, amount numeric)")
        for statement in REBUILD:
            db.execute(statement)


def fixed(url):
    """Rebuild silver, if there is anything to build it from."""
    with psycopg.connect(url) as db:
        ask = "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL"
        if missing := [name for (name,) in db.execute(ask, (list(INPUTS),))]:
            raise InputMissing(f"silver_revenue: {', '.join(missing)} not there; run the ingest, which makes them")
        for statement in REBUILD:
            db.execute(statement)


def scenario(step, lab):
    """Yesterday both inputs were there; this night a clean-up took them."""
    db = lab.postgres
    db.query("CREATE TABLE silver_revenue (day date, revenue numeric)")
    db.query("CREATE TABLE bronze_sales AS SELECT date '2011-12-01' AS day, 42.0 AS amount")
    db.query("CREATE TABLE bronze_returns AS SELECT date '2011-12-01' AS day, 2.0 AS amount")
    step(db.url)
    lab.check("silver is built", db.value("SELECT sum(revenue) FROM silver_revenue") == 40)

    with db.table_removed("bronze_sales"), db.table_removed("bronze_returns"):
        try:
            step(db.url)
        except InputMissing as error:
            said = str(error)
        else:
            revenue = db.value("SELECT sum(revenue) FROM silver_revenue")
            lab.check("an input that is missing is an error", False, f"the revenue is {revenue}, and no error")
    lab.check("all that is missing is named", all(name in said for name in INPUTS), said)
    lab.check("yesterday's silver is still there", db.value("SELECT sum(revenue) FROM silver_revenue") == 40)


if __name__ == "__main__":
    run_alone(__file__)
