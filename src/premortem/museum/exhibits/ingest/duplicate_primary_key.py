"""A row that is delivered twice stops the whole load.

Cause:       The sender repeats a line, and the load is one plain INSERT a row against a primary key.
Effect:      UniqueViolation; the transaction is rolled back, and the good rows of the file stay out with the bad one.
Fix:         Make the load idempotent: insert with ON CONFLICT DO NOTHING on the key that says what "the same" is,
             and count what was skipped.
Prevention:  Decide on sameness when the table is designed; deliver at least once, load exactly once.
"""

import csv

import psycopg

from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = psycopg.errors.UniqueViolation


def broken(path, url):
    """Insert every row; the number of rows that went in."""
    loaded = 0
    with path.open() as file, psycopg.connect(url) as db:
        for row in csv.reader(file):
            loaded += db.execute("INSERT INTO sales VALUES (%s, %s, %s)", row).rowcount
    return loaded


def fixed(path, url):
    """Insert every row that is not there yet; the number of rows that went in."""
    loaded = 0
    with path.open() as file, psycopg.connect(url) as db:
        for row in csv.reader(file):
            statement = "INSERT INTO sales VALUES (%s, %s, %s) ON CONFLICT (invoice, line) DO NOTHING"
            loaded += db.execute(statement, row).rowcount
    return loaded


def scenario(ingest, lab):
    """Monday's file is clean; in Tuesday's, one line comes twice."""
    db = lab.postgres
    db.query("CREATE TABLE sales (invoice int, line int, price numeric, PRIMARY KEY (invoice, line))")
    monday, tuesday = lab.folder / "monday.csv", lab.folder / "tuesday.csv"
    monday.write_text("1,1,2.55\n1,2,3.39\n")
    tuesday.write_text("2,1,2.75\n2,2,7.65\n2,3,4.25\n")
    lab.check("a clean file loads", ingest(monday, db.url) == 2)

    with lab.files.row_repeated(tuesday, row=2):
        loaded = ingest(tuesday, db.url)

    stored = db.query("SELECT line, price::text FROM sales WHERE invoice = 2 ORDER BY line")
    lab.check("every row is there once", stored == [(1, "2.75"), (2, "7.65"), (3, "4.25")], f"{stored}")
    lab.check("the count is honest", loaded == 3, f"{loaded} said to be loaded, 3 are new")


if __name__ == "__main__":
    run_alone(__file__)
