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


def broken(url, customer):
    """Pay; try again where the connection is lost."""
    for attempt in range(ATTEMPTS):
        try:
            with psycopg.connect(url) as db:
                db.execute("INSERT INTO payments (customer) VALUES (%s)", (customer,))
            return
        except psycopg.OperationalError:
            if attempt == ATTEMPTS - 1:
                raise


def fixed(url, customer):
    """Pay; try again where the connection is lost, with the same key."""
    key = uuid.uuid4()
    for attempt in range(ATTEMPTS):
        try:
            with psycopg.connect(url) as db:
                statement = "INSERT INTO payments (customer, key) VALUES (%s, %s) ON CONFLICT (key) DO NOTHING"
                db.execute(statement, (customer, key))
            return
        except psycopg.OperationalError:
            if attempt == ATTEMPTS - 1:
                raise


def scenario(pay, lab):
    """One payment in clear weather, and one for each moment at which its connection can be cut."""
    db = lab.postgres
    db.query("CREATE TABLE payments (customer text, key uuid UNIQUE)")
    proxy = lab.proxy(*db.address)
    with proxy.record("postgres") as conversation:
        pay(db.through(proxy.port), "nobody")

    for point in conversation.seen:
        for moment in ("before", "after"):
            with proxy.at(f"{point.point}:{moment}"):
                pay(db.through(proxy.port), f"{point.point}:{moment}")

    paid = db.query("SELECT customer, count(*) FROM payments GROUP BY customer ORDER BY customer")
    twice = [customer for customer, payments in paid if payments != 1]
    lab.check("the customer pays once", not twice, f"twice: {', '.join(twice)}")
    lab.check("everybody has paid", len(paid) == 1 + 2 * len(conversation.seen), f"{len(paid)} have")


if __name__ == "__main__":
    run_alone(__file__)
