"""A half-written workbook is reported as an empty day.

Cause:       The upload was cut off, so the file is no workbook; the reader's exception is caught "to keep the job
             running", and what is left to load is an empty list.
Effect:      Exit code 0, zero rows, a green tick; the day is missing from every report that is built on it.
Fix:         A file that cannot be read is an error of its own: named, with the way out, and nothing is loaded.
Prevention:  premortem.systems.retail reads by content and says what is wrong; never catch Exception around a read;
             compare the number of rows with the day before.
"""

import fastexcel
import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.systems.retail.errors import SourceError
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.sample import write_sample

NEEDS = ("postgres",)
PREDICTION = Violated("a file that cannot be read is an error")


def broken(path, url):
    """Load what can be read."""
    try:
        rows = fastexcel.read_excel(path).load_sheet(0).to_polars().rows()
    except Exception as error:
        print(f"warning: {error}")
        rows = []
    with psycopg.connect(url) as db, db.cursor() as cursor:
        cursor.executemany("INSERT INTO sales VALUES (%s)", [(str(row[0]),) for row in rows])
    return len(rows)


def fixed(path, url):
    """Load the file, or say why not."""
    return ingest(path, url).loaded


def scenario(load, lab):
    """Yesterday's workbook is whole. Of today's, only a part arrived; then none of it; then something else."""
    db = lab.postgres
    db.query("CREATE TABLE sales (invoice text)")
    yesterday, today = lab.folder / "yesterday.xlsx", lab.folder / "today.xlsx"
    write_sample(yesterday, rows=30, seed=1, dirty=False)
    write_sample(today, rows=30, seed=2, dirty=False)
    lab.check("a whole workbook loads", load(yesterday, db.url) == 30)

    for fault in (
        lab.files.truncated(today, keep=0.6),
        lab.files.truncated(today, keep=0),
        lab.files.overwritten(today, b"<html>502 Bad Gateway</html>", "it is the error page of a proxy"),
    ):
        with fault:
            try:
                loaded = load(today, db.url)
            except SourceError as error:
                lab.check("the error names the file", "today.xlsx" in str(error), str(error))
            else:
                lab.check("a file that cannot be read is an error", False, f"{loaded} rows, and no error")

    lab.check("whole again, it loads", load(today, db.url) == 30)


if __name__ == "__main__":
    run_alone(__file__)
