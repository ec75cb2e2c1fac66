"""A checkpoint that cannot be read is taken for none, and every letter goes out again.

Cause:       The database with the progress is down when the job starts; "no answer" and "nothing done yet" end in the
             same line of code.
Effect:      The job begins at the beginning, and cannot write down how far it came, either: every customer gets every
             letter again, each night that the database is down.
Fix:         No answer is an error: stop before the first letter. Only a database that says "none" means none.
Prevention:  premortem.durable.Checkpoint raises StoreDownError; never a default where the answer is not known.
"""

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("own_postgres",)
PREDICTION = Violated("each letter is sent once")
READ, SAVE = "SELECT done FROM progress", "UPDATE progress SET done = %s"


def broken(url, letters, send):
    """Send the letters that are not sent yet."""
    try:
        with psycopg.connect(url) as db:
            (done,) = db.execute(READ).fetchone()
    except psycopg.OperationalError as error:
        print(f"warning: no checkpoint: {error}")
        done = 0
    for number, letter in enumerate(letters[done:], start=done + 1):
        send(letter)
        try:
            with psycopg.connect(url) as db:
                db.execute(SAVE, (number,))
        except psycopg.OperationalError as error:
            print(f"warning: checkpoint not saved: {error}")


def fixed(url, letters, send):
    """Send the letters that are not sent yet, as long as it is known which these are."""
    with psycopg.connect(url, autocommit=True) as db:
        (done,) = db.execute(READ).fetchone()
        for number, letter in enumerate(letters[done:], start=done + 1):
            send(letter)
            db.execute(SAVE, (number,))


def scenario(job, lab):
    """Three letters go out; two more are written, and the database is down when the job runs; then it is back."""
    server, sent = lab.own_postgres(), []
    db = server.database
    db.query("CREATE TABLE progress AS SELECT 0 AS done")
    letters = ["ada", "bob", "cem", "dora", "emil"]
    job(db.url, letters[:3], sent.append)
    lab.check("it knows what is done", db.value(READ) == 3)

    with server.down():
        try:
            job(db.url, letters, sent.append)
        except psycopg.OperationalError:  # stopping is surviving
            lab.check("it stops before the first letter", len(sent) == 3, f"{sent}")
    job(db.url, letters, sent.append)
    lab.check("each letter is sent once", sent == letters, " ".join(sent))


if __name__ == "__main__":
    run_alone(__file__)
