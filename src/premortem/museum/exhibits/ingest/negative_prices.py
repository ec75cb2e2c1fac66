"""Negative prices are counted as sales.

Cause:       The file is loaded as it comes: a bad debt booked at a price of -11062.06 is a number like any other.
Effect:      Every row loads, no error is raised, and the revenue in the morning's report is wrong by five digits.
Fix:         State the business rule (a price is 0 to 10,000) and hold every row to it on the way in; a row that
             breaks it is kept beside the table, with rule, value and source row, and not in it.
Prevention:  Rules as data (premortem.systems.retail.rules); check that read = loaded + dead; alert on the dead share.
"""

import csv
from decimal import Decimal

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("revenue is what was sold")


def broken(path, url):
    """Load every row."""
    with path.open() as file, psycopg.connect(url) as db, db.cursor() as cursor:
        for row in csv.DictReader(file):
            cursor.execute("INSERT INTO sales VALUES (%s, %s)", (row["Quantity"], row["UnitPrice"]))


def fixed(path, url):
    """Load the rows that keep the rule, and keep the others where they can be looked at."""
    with path.open() as file, psycopg.connect(url) as db, db.cursor() as cursor:
        for number, row in enumerate(csv.DictReader(file), start=2):
            if 0 <= Decimal(row["UnitPrice"]) <= 10_000:
                cursor.execute("INSERT INTO sales VALUES (%s, %s)", (row["Quantity"], row["UnitPrice"]))
            else:
                letter = ("price 0 to 10,000", row["UnitPrice"], number)
                cursor.execute("INSERT INTO dead_letters VALUES (%s, %s, %s)", letter)


def scenario(ingest, lab):
    """Yesterday's file is clean; in today's, one line is a bad debt."""
    db = lab.postgres
    db.query("CREATE TABLE sales (quantity int, price numeric)")
    db.query("CREATE TABLE dead_letters (rule text, value text, source_row int)")
    path = lab.folder / "invoices.csv"
    path.write_text("InvoiceNo,Quantity,UnitPrice\n536365,6,2.55\n536366,8,3.39\nA563186,1,11.00\n")
    ingest(path, db.url)
    yesterday = db.value("SELECT sum(quantity * price) FROM sales")

    with lab.files.cell(path, row=4, column="UnitPrice", value="-11062.06"):
        ingest(path, db.url)

    today = db.value("SELECT sum(quantity * price) FROM sales") - yesterday
    lab.check("revenue is what was sold", today == Decimal("42.42"), f"{today} for 42.42 sold")
    kept = db.query("SELECT rule, value, source_row FROM dead_letters")
    lab.check("the row is kept with its reason", kept == [("price 0 to 10,000", "-11062.06", 4)], f"{kept}")


if __name__ == "__main__":
    run_alone(__file__)
