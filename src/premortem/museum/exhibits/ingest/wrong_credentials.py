"""A wrong password ends up in the log.

Cause:       The login fails, and to help whoever reads the log the message shows the connection string.
Effect:      The password is in the log, in the log's archive, in the error tracker and in the ticket; somebody has
             to rotate it once more, and everywhere.
Fix:         Say which user at which host was refused, and never the URL; keep the driver's own text out of the chain.
Prevention:  Secrets as a type that hides itself (SecretStr); search the logs for them in a test, as this one does.
"""

import logging
import traceback

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.systems.retail.errors import DatabaseAccessError
from premortem.systems.retail.ingest import ingest
from premortem.systems.retail.sample import write_sample

NEEDS = ("own_postgres",)
PREDICTION = Violated("no secret in a message or a log")
PASSWORD = "correct-horse-battery"  # noqa: S105 - of a user who lives for a second
log = logging.getLogger("ingest")


def broken(path, url):
    """Load the file; if that fails, say with which connection."""
    try:
        with psycopg.connect(url) as db:
            db.execute("INSERT INTO sales VALUES (%s)", (path.name,))
    except psycopg.OperationalError as error:
        log.error("could not load %s into %s: %s", path, url, error)
        raise


def fixed(path, url):
    """Load the file; if that fails, say who was refused and where."""
    try:
        ingest(path, url)
    except DatabaseAccessError as error:
        log.error("could not load %s: %s", path, error)
        raise


def scenario(load, lab):
    """The job's user logs in; then somebody rotates its password and forgets to tell the job."""
    server = lab.own_postgres()
    server.database.query("CREATE TABLE sales (file text); GRANT ALL ON sales TO PUBLIC")
    url = server.add_user("loader", PASSWORD)
    path = lab.folder / "invoices.csv"
    write_sample(path, rows=20, dirty=False)
    logging.basicConfig(filename="ingest.log", level=logging.DEBUG)
    load(path, url)

    said = ""
    with server.password_changed("loader", PASSWORD, "rotated-on-friday"):
        try:
            load(path, url)
        except (psycopg.OperationalError, DatabaseAccessError) as error:
            said = "".join(traceback.format_exception(error))

    written = (lab.folder / "ingest.log").read_text()
    leaked = PASSWORD in said + written
    lab.check("no secret in a message or a log", not leaked, "the password is in the log" if leaked else "")
    lab.check("the user who was refused is named", "loader" in written, written)


if __name__ == "__main__":
    run_alone(__file__)
