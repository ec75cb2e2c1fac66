"""The database is down, and the delivery that came meanwhile is gone.

Cause:       The job moves the file out of the inbox first, so that no second worker takes it, and connects second.
Effect:      OperationalError once; after the restart everything is green again, and one delivery is in no table.
Fix:         The inbox is the queue: a file leaves it only after the commit, so a failed run leaves its work behind.
Prevention:  Acknowledge after the work, never before; count deliveries against loads; alert on the age of the inbox.
"""

import contextlib

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("own_postgres",)
PREDICTION = Violated("every delivery is loaded once the database is back")


def broken(inbox, done, url):
    """Take each file, load it."""
    for file in sorted(inbox.iterdir()):
        taken = file.rename(done / file.name)
        with psycopg.connect(url) as db:
            db.execute("INSERT INTO sales VALUES (%s, %s)", (taken.name, taken.read_text()))


def fixed(inbox, done, url):
    """Load each file, and take it away when it is safe; a second load of the same file changes nothing."""
    for file in sorted(inbox.iterdir()):
        with psycopg.connect(url) as db:
            statement = "INSERT INTO sales VALUES (%s, %s) ON CONFLICT (delivery) DO NOTHING"
            db.execute(statement, (file.name, file.read_text()))
        file.rename(done / file.name)


def scenario(run, lab):
    """Monday goes well; on Tuesday the server is down when the job runs, and back for Wednesday's."""
    server = lab.own_postgres()
    db = server.database
    db.query("CREATE TABLE sales (delivery text PRIMARY KEY, amount numeric)")
    inbox, done = lab.folder / "inbox", lab.folder / "done"
    inbox.mkdir()
    done.mkdir()
    (inbox / "monday").write_text("15.30")
    run(inbox, done, db.url)

    (inbox / "tuesday").write_text("20.34")
    with server.down(), contextlib.suppress(psycopg.OperationalError):
        run(inbox, done, db.url)

    (inbox / "wednesday").write_text("22.00")
    run(inbox, done, db.url)
    loaded = [name for (name,) in db.query("SELECT delivery FROM sales ORDER BY delivery")]
    everything = ["monday", "tuesday", "wednesday"]
    lab.check("every delivery is loaded once the database is back", loaded == everything, f"loaded: {loaded}")


if __name__ == "__main__":
    run_alone(__file__)
