"""A payment that was never made is taken for a duplicate.

Cause:       The message is marked as seen in one transaction, and booked in the next; the process dies in between.
Effect:      The broker delivers it again, the mark says "seen", it is acknowledged: a payment is lost, and the code
             that was to keep it from being made twice is what lost it.
Fix:         Mark and effect in one transaction: both are there, or neither is.
Prevention:  premortem.durable.Idempotency over the connection that the effect uses; kill it at each system call.
"""

import contextlib
import sqlite3

from premortem.durable import Idempotency, SqliteKeys
from premortem.durable.idempotency.stores.sqlite import create_tables
from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("syscalls",)
PREDICTION = Violated("each payment is made once")


def broken(db, message):
    """Make a payment, unless this message was seen before."""
    with db:
        if not db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (message["id"],)).rowcount:
            return
    with db:
        db.execute("INSERT INTO payments VALUES (?)", (message["pence"],))


def fixed(db, message):
    """Make a payment once for a message, together with the mark that it was made."""

    def pay(message):
        db.execute("INSERT INTO payments VALUES (?)", (message["pence"],))

    with db:
        Idempotency(SqliteKeys(db)).run(message["id"], message, pay)


def scenario(pay, lab):
    """A message is delivered twice; then one whose consumer dies at each system call in turn, and it comes again."""
    path = lab.folder / "bank.db"

    def deliver(message):
        with contextlib.closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA synchronous = OFF")  # the process dies, the machine does not
            pay(db, message)

    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE payments (pence INTEGER)")
        db.execute("CREATE TABLE seen (id TEXT PRIMARY KEY)")
        create_tables(db)
    deliver({"id": "m-1", "pence": 250})
    deliver({"id": "m-1", "pence": 250})
    lab.check("each payment is made once", paid(path) == [250], f"{paid(path)}")

    for crash in lab.every_crash(deliver, {"id": "m-2", "pence": 999}):
        deliver({"id": "m-2", "pence": 999})
        lab.check("each payment is made once", paid(path) == [250, 999], f"{paid(path)} after {crash}")


def paid(path):
    """All payments."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return [pence for (pence,) in db.execute("SELECT pence FROM payments ORDER BY pence")]


if __name__ == "__main__":
    run_alone(__file__)
