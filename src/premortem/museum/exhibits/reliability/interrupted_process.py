"""A job that is killed between its rows and its progress does the chunk again.

Cause:       Rows go into the database, progress into a file, one after the other: two places, and a moment in between.
Effect:      Killed in that moment (a deployment, the kernel out of memory, a reboot), the next run loads a chunk that
             is there. With the order turned round it would leave one out.
Fix:         Rows and progress in one transaction: there is no moment in between.
Prevention:  premortem.durable.Checkpoint with PostgresStore; kill the job at each of its system calls, as this does.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres", "syscalls")
PREDICTION = Violated("every sale is there once")
LOAD = "INSERT INTO sales VALUES (%s)"
BACK = """
    WITH third AS (DELETE FROM sales WHERE sale = 'c' RETURNING sale), back AS (UPDATE progress SET done = 2)
    SELECT count(*) FROM third"""


def broken(url, progress, sales):
    """Load the sales that are not loaded yet."""
    done = int(progress.read_text()) if progress.exists() else 0
    with psycopg.connect(url) as db:
        for sale in sales[done:]:
            db.execute(LOAD, (sale,))
    draft = progress.with_suffix(".draft")
    draft.write_text(str(len(sales)))
    draft.replace(progress)


def fixed(url, progress, sales):
    """Load the sales that are not loaded yet."""
    with psycopg.connect(url) as db:
        (done,) = db.execute("SELECT done FROM progress FOR UPDATE").fetchone()
        for sale in sales[done:]:
            db.execute(LOAD, (sale,))
        db.execute("UPDATE progress SET done = %s", (len(sales),))


def scenario(load, lab):
    """Two sales are loaded; the load of the third is killed at each of its system calls in turn, and run again."""
    db, progress = lab.postgres, lab.folder / "progress"
    db.query("CREATE TABLE progress AS SELECT 0 AS done; CREATE TABLE sales (sale text)")
    load(db.url, progress, ["a", "b"])
    lab.check("they are loaded", db.value("SELECT count(*) FROM sales") == 2)

    wrong = []
    for crash in lab.every_crash(load, db.url, progress, ["a", "b", "c"], watch=("file", "socket")):
        load(db.url, progress, ["a", "b", "c"])
        if (times := db.value(BACK)) != 1:
            wrong.append(f"{times} times after {crash.recipe}")
    lab.check("every sale is there once", not wrong, "; ".join(wrong))


if __name__ == "__main__":
    run_alone(__file__)
