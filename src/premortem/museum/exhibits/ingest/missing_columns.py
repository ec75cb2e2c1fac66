"""A column that was renamed upstream is found out half-way.

Cause:       The sender calls UnitPrice "Price" and CustomerID "Customer" since this morning; the loop reads by name
             and writes row by row.
Effect:      KeyError, about one column of the two, after the first invoices have been written: half a load.
Fix:         Hold the header against the schema before the first row; name all that is missing in one error.
Prevention:  A schema as data, checked first (premortem.systems.retail.columns); agree on changes with the sender.
"""

import csv

import psycopg

from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = KeyError
COLUMNS = ("InvoiceNo", "UnitPrice", "CustomerID")


class Refused(Exception):
    """The file is not loaded; the message says why."""


def broken(path, url):
    """Open an invoice, write its lines."""
    with path.open() as file, psycopg.connect(url, autocommit=True) as db:
        for row in csv.DictReader(file):
            db.execute("INSERT INTO invoices VALUES (%s)", (row["InvoiceNo"],))
            line = tuple(row[name] for name in COLUMNS)
            db.execute("INSERT INTO sales VALUES (%s, %s, %s)", line)


def fixed(path, url):
    """Check the header, then write everything or nothing."""
    with path.open() as file, psycopg.connect(url) as db:
        reader = csv.DictReader(file)
        if missing := [name for name in COLUMNS if name not in reader.fieldnames]:
            raise Refused(f"{path}: lacks {', '.join(missing)}; it has {', '.join(reader.fieldnames)}")
        for row in reader:
            db.execute("INSERT INTO invoices VALUES (%s)", (row["InvoiceNo"],))
            line = tuple(row[name] for name in COLUMNS)
            db.execute("INSERT INTO sales VALUES (%s, %s, %s)", line)


def scenario(ingest, lab):
    """The header everybody knows, then one with two new names."""
    db = lab.postgres
    db.query("CREATE TABLE invoices (invoice text)")
    db.query("CREATE TABLE sales (invoice text, price numeric, customer text)")
    path = lab.folder / "invoices.csv"
    path.write_text("InvoiceNo,UnitPrice,CustomerID\n536365,2.55,17850\n536366,3.39,13047\n")
    ingest(path, db.url)

    refusal = ""
    with lab.files.column_renamed(path, "UnitPrice", to="Price"):
        with lab.files.column_renamed(path, "CustomerID", to="Customer"):
            try:
                ingest(path, db.url)
            except Refused as refused:
                refusal = str(refused)

    lab.check("all that is missing is named", "lacks UnitPrice, CustomerID" in refusal, refusal)
    counts = db.query("SELECT (SELECT count(*) FROM invoices), (SELECT count(*) FROM sales)")
    lab.check("nothing of the file is in", counts == [(2, 2)], f"{counts}")


if __name__ == "__main__":
    run_alone(__file__)
