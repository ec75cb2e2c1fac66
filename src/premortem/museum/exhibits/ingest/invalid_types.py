"""One cell that is no number keeps ninety-nine good rows out.

Cause:       int(row["Quantity"]) in the loop over the file; a person typed "12 pcs" into one cell.
Effect:      ValueError in the middle of the night; nothing is loaded, and nobody knows which row it was.
Fix:         Convert each row on its own; one that cannot be is set aside with column, value and source row.
Prevention:  Read everything as text and cast it under a rule (premortem.systems.retail.casts); alert on the dead share.
"""

import csv

import psycopg

from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = ValueError


def broken(path, url):
    """Convert as we go."""
    with path.open() as file, psycopg.connect(url) as db:
        for row in csv.DictReader(file):
            values = (row["InvoiceNo"], int(row["Quantity"]))
            db.execute("INSERT INTO sales VALUES (%s, %s)", values)


def fixed(path, url):
    """Convert each row on its own, and set aside what cannot be converted."""
    with path.open() as file, psycopg.connect(url) as db:
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                values = (row["InvoiceNo"], int(row["Quantity"]))
            except ValueError:
                letter = ("Quantity", row["Quantity"], number)
                db.execute("INSERT INTO dead_letters VALUES (%s, %s, %s)", letter)
            else:
                db.execute("INSERT INTO sales VALUES (%s, %s)", values)


def scenario(ingest, lab):
    """A hundred good rows, then a hundred of which one was typed by hand."""
    db = lab.postgres
    db.query("CREATE TABLE sales (invoice text, quantity int)")
    db.query("CREATE TABLE dead_letters (column_name text, value text, source_row int)")
    path = lab.folder / "invoices.csv"
    path.write_text("InvoiceNo,Quantity\n" + "".join(f"{536365 + n},{n + 1}\n" for n in range(100)))
    ingest(path, db.url)
    lab.check("clean rows load", db.value("SELECT count(*) FROM sales") == 100)

    bad = lab.random.randrange(2, 102)
    with lab.files.cell(path, row=bad, column="Quantity", value="12 pcs"):
        ingest(path, db.url)

    loaded = db.value("SELECT count(*) FROM sales") - 100
    lab.check("the good rows are in", loaded == 99, f"{loaded} of 99")
    kept = db.query("SELECT * FROM dead_letters")
    lab.check("the bad row can be found", kept == [("Quantity", "12 pcs", bad)], f"{kept}")


if __name__ == "__main__":
    run_alone(__file__)
