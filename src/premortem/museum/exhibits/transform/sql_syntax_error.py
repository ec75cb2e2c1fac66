"""A syntax error in the second statement leaves the work of the first.

Cause:       The step's file is split at semicolons and run piece by piece, each piece committed; a merge has left its
             markers in the second.
Effect:      The DELETE has happened, the INSERT has not: an empty table behind every report. The error quotes a piece
             of SQL, and nobody knows from which of forty files.
Fix:         Send the file as one text in one transaction: PostgreSQL reads all of it before it does any of it. Say
             file and line.
Prevention:  A step is one transaction, and its errors name file and line (premortem.systems.retail.steps); in CI, run
             every file against an empty database.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("yesterday's silver is still there")
STEP = """-- revenue by day
DELETE FROM silver_revenue;

INSERT INTO silver_revenue
SELECT day, sum(amount)
FROM bronze_sales GROUP BY day;
"""


class StepFailed(Exception):
    """Nothing of the step was kept; the message says where it failed."""


def broken(file, url):
    """Run the statements of a file."""
    with psycopg.connect(url, autocommit=True) as db:
        for statement in file.read_text().split(";"):
            db.execute(statement)


def fixed(file, url):
    """Run the file: all of it or nothing."""
    text = file.read_text()
    try:
        with psycopg.connect(url) as db:
            db.execute(text)
    except psycopg.Error as error:
        line = text[: int(error.diag.statement_position or 1) - 1].count("\n") + 1
        raise StepFailed(f"{file.name}:{line}: {error.diag.message_primary}; nothing was kept") from error


def scenario(run, lab):
    """The step as it was reviewed, then as it was merged."""
    db = lab.postgres
    db.query("CREATE TABLE bronze_sales (day date, amount numeric)")
    db.query("CREATE TABLE silver_revenue (day date, revenue numeric)")
    db.query("INSERT INTO bronze_sales VALUES ('2011-12-01', 15), ('2011-12-01', 25)")
    file = lab.folder / "20_silver_revenue.sql"
    file.write_text(STEP)
    run(file, db.url)

    merged = STEP.replace("SELECT day", "<<<<<<< HEAD\nSELECT day")
    with lab.files.overwritten(file, merged.encode(), "line 5 is a marker that a merge has left"):
        try:
            run(file, db.url)
        except (psycopg.Error, StepFailed) as error:
            said = str(error)

    left = db.query("SELECT revenue::int FROM silver_revenue")
    lab.check("yesterday's silver is still there", left == [(40,)], f"{left}; said: {said}")
    lab.check("file and line are named", "20_silver_revenue.sql:5" in said, said)


if __name__ == "__main__":
    run_alone(__file__)
