"""A payment is made twice, because the answer to its COMMIT was lost.

Cause:       The connection breaks after COMMIT was done and before its answer came. The driver raises the very error
             that it raises when nothing was done, and the job tries again.
Effect:      The customer pays twice. In the log stand one lost connection and one success.
Fix:         A key for the payment, made once before the first attempt: a second insert of it changes nothing.
Prevention:  Keys from whoever wants the thing, not from the table; premortem sweep --wire cuts at every message.
"""

import uuid

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres", "proxy")
PREDICTION = Violated("the customer pays once")
ATTEMPTS = 3


def broken(url):
    """Pay; try again where the connection is lost."""
    for attempt in range(ATTEMPTS):
        try:
            with psycopg.connect(url) as db:
                db.execute("INSERT INTO payments (customer) VALUES ('ada')")
            return
        except psycopg.OperationalError:
            if attempt == ATTEMPTS - 1:
                raise


def fixed(url):
    """Pay; try again where the connection is lost, with the same key."""
    key = uuid.uuid4()
    for attempt in range(ATTEMPTS):
        try:
            with psycopg.connect(url) as db:
                db.execute("INSERT INTO payments VALUES ('ada', %s) ON CONFLICT (key) DO NOTHING", (key,))
            return
        except psycopg.OperationalError:
            if attempt == ATTEMPTS - 1:
                raise


def scenario(pay, lab):
    """A payment in clear weather; then one for each message of the transaction at which it can be cut off."""
    db = lab.postgres
    db.query("CREATE TABLE payments (customer text, key uuid UNIQUE)")
    pay(db.url)

    wrong, only = [], ("BEGIN", "INSERT", "COMMIT", "CommandComplete")
    for cut in lab.every_cut(pay, db.url, only=only, before=lambda: db.query("TRUNCATE payments")):
        if (payments := db.value("SELECT count(*) FROM payments")) != 1:
            wrong.append(f"{payments} payments after {cut}")
    lab.check("the customer pays once", not wrong, "; ".join(wrong))


if __name__ == "__main__":
    run_alone(__file__)
