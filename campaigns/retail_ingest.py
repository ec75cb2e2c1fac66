"""The retail ingest under fire: struck at every file and socket call, and at every message to the database.

    make campaign                                   all points (minutes), with a report in .premortem/campaign/
    python campaigns/retail_ingest.py run --budget 20    a few of them

After each strike the ingest is started again, as a supervisor would; then rows and sums have to be those of an
undisturbed run: nothing lost, nothing twice. The other three words are what the sweep calls: `reset` makes fresh
state, `load` is the ingest, `check` judges.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from premortem.servers import Servers, databases

URL = "PREMORTEM_POSTGRES_URL"
ROWS, CHUNK_ROWS = 60, 25  # three chunks: what happens between two of them is what is looked for
QUIET_S = 5.0
STATE = """
    SELECT (SELECT count(*) FROM bronze.batches), (SELECT sum(rows_read) FROM bronze.batches)::text,
           (SELECT count(*) FROM bronze.raw_transactions), (SELECT sum(quantity * unitprice)
              FROM bronze.raw_transactions)::text, (SELECT count(*) FROM bronze.dead_letters),
           (SELECT md5(string_agg(t::text, '|' ORDER BY t.source_row)) FROM
              (SELECT invoiceno, stockcode, quantity, unitprice, source_row FROM bronze.raw_transactions) t)
"""


def own_database() -> str:
    """The database of this worker of the sweep: two that share one would judge each other's rows."""
    worker = re.search(r"/worker-(\d+)/", os.environ.get("PREMORTEM_SWEEP_FOLDER", "") + "/")
    return databases.url_with_database(os.environ[URL], f"campaign_{worker[1] if worker else 1}")


def reset() -> None:
    """Nothing of an earlier trial is there, and nobody of it is connected."""
    with psycopg.connect(own_database(), autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        db.execute("DROP SCHEMA IF EXISTS bronze CASCADE")


def load(file: Path) -> None:
    """The ingest. A file that is loaded already is what a second start is for."""
    from premortem.faults import syscalls  # noqa: PLC0415 - half a second, that the other words need not wait for
    from premortem.systems.retail.errors import AlreadyLoadedError  # noqa: PLC0415 - same
    from premortem.systems.retail.ingest import ingest  # noqa: PLC0415 - same

    syscalls.arm()  # what was imported so far does not count
    try:
        ingest(file, own_database())
    except AlreadyLoadedError as known:
        print(known)


def state() -> list[object]:
    """Batches, rows read, rows and their sum, dead letters, and a digest of the rows."""
    with psycopg.connect(own_database()) as db:
        row = db.execute(STATE.encode()).fetchone()
    assert row is not None
    return list(row)


def check(expected: Path) -> int:
    """Hold the database against an undisturbed run. First let go whoever was cut off and works on."""
    deadline = time.monotonic() + QUIET_S
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(own_database(), autocommit=True) as db:
        while db.execute(others).fetchone() != (0,):
            if time.monotonic() > deadline:
                print(f"a session of the ingest is still there {QUIET_S:g} s after its end")
                return 1
            time.sleep(0.01)
    found, wanted = state(), json.loads(expected.read_text())
    if found == wanted:
        return 0
    print(f"batches, read, rows, sum, dead, digest: {found}, undisturbed: {wanted}")
    return 1


def run(folder: Path, budget: int, jobs: int) -> int:
    """Both sweeps, on a server of their own; the worse exit code."""
    from premortem.systems.retail.sample import write_sample  # noqa: PLC0415 - as in `load`

    folder.mkdir(parents=True, exist_ok=True)
    file, expected = folder / "invoices.csv", folder / "undisturbed.json"
    write_sample(file, rows=ROWS, seed=1)
    os.environ["PREMORTEM_RETAIL_CHUNK_ROWS"] = str(CHUNK_ROWS)
    os.environ["PREMORTEM_RETAIL_STATEMENT_TIMEOUT_S"] = "2"
    this = [sys.executable, str(Path(__file__).resolve())]
    judged = ["--setup", shlex.join([*this, "reset"]), "--check", shlex.join([*this, "check", str(expected)])]
    judged += ["--restart", "--budget", str(budget), "--jobs", str(jobs), "--", *this, "load", str(file)]
    with Servers() as servers:
        os.environ[URL] = servers.postgres().admin_url
        for number in range(1, jobs + 1):
            databases.create(os.environ[URL], f"campaign_{number}")
        reset()
        load(file)
        expected.write_text(json.dumps(state()))
        calls = _sweep(folder / "system-calls.html", ["--watch", "file,socket,read", "--from-mark", *judged])
        messages = _sweep(folder / "messages.html", ["--wire", URL, *judged])
    return max(calls, messages)


def _sweep(page: Path, options: list[str]) -> int:
    command = [sys.executable, "-m", "premortem", "sweep", "--html", str(page), *options]
    print(f"\n{page.stem}: {shlex.join(command)}", flush=True)
    return subprocess.run(command, check=False).returncode


def main() -> int:
    """Read the word and do it."""
    parser = argparse.ArgumentParser(description="The retail ingest under fire.")
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("reset")
    words.add_parser("load").add_argument("file", type=Path)
    words.add_parser("check").add_argument("expected", type=Path)
    running = words.add_parser("run")
    running.add_argument("--budget", type=int, default=0, help="points of each sweep; 0 is all")
    running.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    running.add_argument("--folder", type=Path, default=Path(".premortem/campaign"))
    given = parser.parse_args()
    match given.word:
        case "reset":
            reset()
        case "load":
            load(given.file.resolve())
        case "check":
            return check(given.expected)
        case _:
            return run(given.folder.resolve(), given.budget, given.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
