"""A setting that is missing on the new machine is found out in the middle of the work.

Cause:       os.environ is read where a value is needed, deep in the loop; os.environ.get makes a missing one None.
Effect:      TypeError about NoneType, far from its cause, after the first row was committed; then the next variable
             turns out to be nonsense, one deployment later.
Fix:         Read all settings once, before the first side effect, and name everything that is wrong in one error.
Prevention:  Settings as a class with bounds (premortem.systems.retail.settings); no default for what must be said.
"""

import os

import psycopg
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings

from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = TypeError
INSERT = "INSERT INTO sales VALUES (%s)"


def broken(rows):
    """Load the first row to see that it works, then the others in chunks."""
    with psycopg.connect(os.environ["SHOP_URL"]) as db:
        db.execute(INSERT, rows[:1])
        db.commit()
        size = int(os.environ.get("SHOP_CHUNK_ROWS"))
        timeout_s = float(os.environ.get("SHOP_TIMEOUT_S"))
        load(db, rows[1:], size, timeout_s)


def fixed(rows):
    """Read the settings, all of them; then load in chunks."""

    class Settings(BaseSettings, env_prefix="SHOP_"):
        url: SecretStr
        chunk_rows: int = Field(ge=1, le=100_000)
        timeout_s: float = Field(gt=0, le=3600)

    settings = Settings()
    with psycopg.connect(settings.url.get_secret_value()) as db:
        load(db, rows, settings.chunk_rows, settings.timeout_s)


def load(db, rows, size, timeout_s):
    """The work itself, the same for both."""
    db.execute("SELECT set_config('statement_timeout', %s, false)", (f"{timeout_s}s",))
    for start in range(0, len(rows), size):
        db.cursor().executemany(INSERT, [(row,) for row in rows[start : start + size]])
        db.commit()


def scenario(job, lab):
    """On the old machine everything is set; on the new one, one variable is missing and one is nonsense."""
    db = lab.postgres
    db.query("CREATE TABLE sales (amount int)")
    os.environ |= {"SHOP_URL": db.url, "SHOP_CHUNK_ROWS": "10", "SHOP_TIMEOUT_S": "5"}
    job(range(25))
    lab.check("it works when all is set", db.value("SELECT count(*) FROM sales") == 25)

    message = ""
    with lab.environment.unset("SHOP_CHUNK_ROWS"), lab.environment.changed("SHOP_TIMEOUT_S", "soon"):
        try:
            job(range(25))
        except ValidationError as error:
            message = str(error)

    lab.check("all that is wrong is named at once", "chunk_rows" in message and "timeout_s" in message, message)
    lab.check("nothing was touched", db.value("SELECT count(*) FROM sales") == 25)


if __name__ == "__main__":
    run_alone(__file__)
