"""The input file is missing, and yesterday's rows go with it.

Cause:       The job empties the table first and opens the file second; the delivery did not come.
Effect:      FileNotFoundError in the log, and an empty table behind every report until somebody reads that log.
Fix:         Read and check the input before anything is touched; replace the rows in one transaction.
Prevention:  Treat "no file" as an answer of its own, with path and way out; check freshness, not only success.
"""

import csv

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("yesterday's rows are still there")


def broken(path, url):
    """Make room, then load."""
    with psycopg.connect(url, autocommit=True) as db:
        db.execute("TRUNCATE sales")
        with path.open() as file:
            for row in csv.reader(file):
                db.execute("INSERT INTO sales VALUES (%s, %s)", row)


def fixed(path, url):
    """Read first; then make room and load in one transaction."""
    try:
        with path.open() as file:
            rows = list(csv.reader(file))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: today's delivery is not there; ask the sender, then run again") from error
    with psycopg.connect(url) as db:
        db.execute("TRUNCATE sales")
        for row in rows:
            db.execute("INSERT INTO sales VALUES (%s, %s)", row)


def scenario(ingest, lab):
    """Yesterday the file came; today it does not."""
    db = lab.postgres
    db.query("CREATE TABLE sales (invoice text, price numeric)")
    path = lab.folder / "sales.csv"
    path.write_text("536365,2.55\n536366,3.39\n")
    ingest(path, db.url)

    with lab.files.removed(path):
        try:
            ingest(path, db.url)
        except OSError as error:
            message = str(error)
        else:
            message = "no error at all"

    left = db.value("SELECT count(*) FROM sales")
    lab.check("yesterday's rows are still there", left == 2, f"{left} of 2 rows")
    lab.check("the error names the file", str(path) in message, message)


if __name__ == "__main__":
    run_alone(__file__)
