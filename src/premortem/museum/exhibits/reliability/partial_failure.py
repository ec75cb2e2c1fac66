"""One bad row takes its whole batch along, because the buffer is emptied however the flush went.

Cause:       Rows are gathered and written fifty at a time; the flush logs its error and clears the buffer in `finally`.
Effect:      The file is "loaded", the error in the log is about one row, and 49 good ones are gone with it.
Fix:         Each row has a savepoint of its own; what cannot be written is kept with its reason, in the transaction of
             the good rows. (At volume: together first, and row by row where that fails.)
Prevention:  premortem.durable.DeadLetters; rows read = rows written + dead letters, checked after each file.
"""

import csv
import logging

import psycopg

from premortem.durable import DeadLetters, PostgresLetters
from premortem.durable.dead_letters.stores.postgres import create_tables
from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("every row is loaded or kept")
INSERT = "INSERT INTO sales VALUES (%(invoice)s, %(quantity)s)"


def broken(path, db):
    """Load a file, fifty rows at a time."""
    with path.open() as file:
        buffer = []
        for row in [*csv.DictReader(file), None]:
            if row:
                buffer.append(row)
            if buffer and (row is None or len(buffer) == 50):
                try:
                    with db.transaction():
                        db.cursor().executemany(INSERT, buffer)
                except psycopg.Error as error:
                    logging.error("flush failed: %s", error)
                finally:
                    buffer.clear()


def fixed(path, db):
    """Load a file; what cannot be loaded is kept beside it, in the same transaction."""
    letters = DeadLetters(PostgresLetters(db), "sales", share=0.1, least=50)
    with path.open() as file, db.transaction():
        for number, row in enumerate(csv.DictReader(file), start=2):
            try:
                with db.transaction():
                    db.execute(INSERT, row)
                letters.passed()
            except psycopg.DataError as error:
                letters.add(row, type(error).__name__, key=f"{path.name}:{number}", detail=str(error))


def scenario(load, lab):
    """A clean file is loaded; in the next one, somebody has typed a word where a number belongs."""
    path = lab.folder / "monday.csv"
    path.write_text("invoice,quantity\n" + "".join(f"{number},6\n" for number in range(60)))
    with psycopg.connect(lab.postgres.url, autocommit=True) as db:
        db.execute("CREATE TABLE sales (invoice int, quantity int)")
        create_tables(db)
        load(path, db)
        lab.check("a clean file is loaded", lab.postgres.value("SELECT count(*) FROM sales") == 60)
        with lab.files.cell(path, row=7, column="quantity", value="six"):
            load(path, db)
    loaded = lab.postgres.value("SELECT count(*) FROM sales") - 60
    kept = lab.postgres.value("SELECT count(*) FROM premortem.dead_letter")
    lab.check("every row is loaded or kept", loaded + kept == 60, f"{loaded} of 60 loaded, {kept} kept")


if __name__ == "__main__":
    run_alone(__file__)
