"""ON CONFLICT on the wrong key drops rows that are no duplicates, and says nothing.

Cause:       The load is made idempotent by ON CONFLICT DO NOTHING on the invoice's number. While an invoice had one
             line, that was what "the same" meant; then the shop began to sell more than one thing at a time.
Effect:      Of every invoice the first line is loaded. No error, no warning, and a second run changes nothing: the load
             looks perfect, and the revenue is a third short.
Fix:         The key says what one row is: invoice and line. What a conflict skips is compared, and is the same row.
Prevention:  Rows read = rows loaded + rows that were there already, the same in all columns; else stop.
"""

import csv

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("every line is there once")


def broken(path, url):
    """Load a file, any number of times."""
    with path.open() as file, psycopg.connect(url) as db:
        db.execute("CREATE TABLE IF NOT EXISTS sales (invoice int UNIQUE, line int, pence int)")
        for row in csv.reader(file):
            db.execute("INSERT INTO sales VALUES (%s, %s, %s) ON CONFLICT (invoice) DO NOTHING", row)


def fixed(path, url):
    """Load a file, any number of times; a row that is there already has to be the same."""
    with path.open() as file, psycopg.connect(url) as db:
        db.execute("CREATE TABLE IF NOT EXISTS sales (invoice int, line int, pence int, UNIQUE (invoice, line))")
        for row in csv.reader(file):
            insert = "INSERT INTO sales VALUES (%s, %s, %s) ON CONFLICT (invoice, line) DO NOTHING"
            if not db.execute(insert, row).rowcount:
                same = "SELECT FROM sales WHERE invoice = %s AND line = %s AND pence = %s"
                if not db.execute(same, row).rowcount:
                    raise ValueError(f"{row}: is there already, with another price; which one is right?")


def scenario(load, lab):
    """Monday's invoices have one line each, and are delivered twice; on Tuesday the first one with three comes."""
    path = lab.folder / "sales.csv"
    path.write_text("1,1,255\n2,1,339\n")
    load(path, lab.postgres.url)
    load(path, lab.postgres.url)
    lab.check("every line is there once", lines(lab) == [(1, 1, 255), (2, 1, 339)], f"{lines(lab)}")

    with lab.files.overwritten(path, b"3,1,275\n3,2,765\n3,3,425\n", "an invoice has three lines"):
        load(path, lab.postgres.url)
        load(path, lab.postgres.url)
    found = [line for line in lines(lab) if line[0] == 3]
    lab.check("every line is there once", found == [(3, 1, 275), (3, 2, 765), (3, 3, 425)], f"{found}")


def lines(lab):
    """All that is loaded."""
    return lab.postgres.query("SELECT invoice, line, pence FROM sales ORDER BY 1, 2")


if __name__ == "__main__":
    run_alone(__file__)
