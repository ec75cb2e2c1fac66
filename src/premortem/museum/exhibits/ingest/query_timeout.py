"""A statement that never comes back takes the whole job with it.

Cause:       No limit on any wait: a forgotten psql session holds a lock on the table, or a firewall drops the
             connection without a word. TCP has nothing to say about either.
Effect:      The job hangs for hours, holds its own locks, and the next run piles up behind it. There is no error.
Fix:         Two limits, since neither sees what the other does: statement_timeout, which the server keeps, and a
             watchdog on our side that shuts the socket, for when the server cannot be heard at all.
Prevention:  premortem.systems.retail (statement timeout, connect timeout, watchdog); alert on the age of sessions.
"""

import os
import socket
import threading

import psycopg

from premortem.errors import Hung
from premortem.experiment import run_alone

NEEDS = ("postgres", "proxy")
PREDICTION = Hung(after_s=2.5)


def broken(rows, db):
    """Load the rows, however long it takes."""
    with db.transaction():
        db.cursor().executemany("INSERT INTO sales VALUES (%s)", rows)


def fixed(rows, db):
    """Load the rows within 0.4 s by the server's clock, and within 1 s by ours."""
    watchdog = threading.Timer(1, shut, [db.fileno()])
    watchdog.start()
    try:
        with db.transaction():
            db.execute("SET LOCAL statement_timeout = '400ms'")
            db.cursor().executemany("INSERT INTO sales VALUES (%s)", rows)
    finally:
        watchdog.cancel()


def shut(descriptor):
    """End a connection from another thread: whoever waits on it is woken with an error."""
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        copy.shutdown(socket.SHUT_RDWR)


def scenario(load, lab):
    """Somebody holds the table; then the network falls silent; then all is well again."""
    db = lab.postgres
    db.query("CREATE TABLE sales (amount int)")
    proxy = lab.proxy(*db.address)

    def job(amount):
        with psycopg.connect(db.through(proxy.port)) as connection:
            load([(amount,)], connection)

    job(1)
    connection = psycopg.connect(db.through(proxy.port))
    for amount, fault in ((2, db.locked("sales")), (3, proxy.black_hole())):
        with fault:
            try:
                load([(amount,)], connection)
            except psycopg.OperationalError:  # giving up in time is surviving
                continue
    job(4)
    loaded = [amount for (amount,) in db.query("SELECT amount FROM sales ORDER BY amount")]
    lab.check("what was given up is not half there", loaded == [1, 4], f"{loaded}")


if __name__ == "__main__":
    run_alone(__file__)
