"""`premortem retail run` under fire: killed at random, at each system call of a chunk's end, cut at each message.

    make campaign                                       all of it (an hour), with reports in .premortem/campaign/
    python campaigns/retail_run.py run --budget 10      a few points and a few deaths

Three parts, one judgement: when the run has come to its end, rows and sums are those of an undisturbed run.

- **deaths**: two workers on the same files; one, the other or both are killed by SIGKILL after a random time, and
  started again, 300 times. The moments are drawn from a seed, which is printed.
- **system calls** from the end of the first chunk to the end of the second: each fails, or is the last thing done.
- **messages**: the connection is cut before, at and after each message to PostgreSQL; the server answers with errors.

The words besides `run` are what the sweeps call: `reset` makes fresh state, `load` is the run, `check` judges.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg

from premortem.errors import PremortemError
from premortem.events import Event, subscribe
from premortem.faults import syscalls
from premortem.servers import Servers, databases
from premortem.systems.retail.run import run as retail_run
from premortem.systems.retail.sample import write_sample

URL = "PREMORTEM_POSTGRES_URL"
ROWS, CHUNK_ROWS = 60, 20  # three chunks: what happens between two of them is what is looked for
FILES, FILE_ROWS = 3, 6000  # for the deaths: long enough to be hit, short enough for 300 of them
DEATHS = 300
DEATHS_A_ROUND = 6
QUIET_S, END_S = 10.0, 60.0
STATE = """
    SELECT (SELECT array[count(*), sum(rows_read), sum(rows_loaded), sum(rows_dead)]::text FROM bronze.batches),
           (SELECT bool_and(complete) FROM bronze.batches), (SELECT count(*) FROM bronze.raw_transactions),
           (SELECT sum(quantity * unitprice) FROM bronze.raw_transactions)::text,
           (SELECT count(*) FROM bronze.dead_letters), (SELECT sum(rows_read) FROM bronze.chunks)::text,
           (SELECT md5(string_agg(t::text, '|' ORDER BY t.source_file, t.source_row)) FROM
              (SELECT source_file, invoiceno, stockcode, quantity, unitprice, source_row
                 FROM bronze.raw_transactions) t)
"""


def reset() -> None:
    """Nothing of an earlier trial is there, and nobody of it is connected."""
    with psycopg.connect(os.environ[URL], autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        db.execute("DROP SCHEMA IF EXISTS bronze CASCADE")


def load(files: list[Path], *, from_second_chunk: bool = False) -> int:
    """The run; its exit code as on the command line. System calls count at once, or from the second chunk's begin."""
    if from_second_chunk:

        def mark(event: Event) -> None:
            if event.name == "retail.chunk" and event.get("chunk") == 0:
                syscalls.arm()

        subscribe(mark)
    report = retail_run(files)
    for file in report.failed:
        print(file.error)
    return 1 if report.failed else 0


def state() -> list[object]:
    """Batches and their sums, whether they are whole, rows, sum, dead letters, rows by chunk, digest."""
    with psycopg.connect(os.environ[URL]) as db:
        row = db.execute(STATE.encode()).fetchone()
    assert row is not None
    return list(row)


def check(expected: Path) -> int:
    """Hold the database against an undisturbed run, when nobody works on it any more."""
    deadline = time.monotonic() + QUIET_S
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(os.environ[URL], autocommit=True) as db:
        while db.execute(others).fetchone() != (0,):
            if time.monotonic() > deadline:
                print(f"a session of the run is still there {QUIET_S:g} s after its end")
                return 1
            time.sleep(0.01)
    found, wanted = state(), json.loads(expected.read_text())
    if found == wanted:
        return 0
    print(f"batches, whole, rows, sum, dead, by chunk, digest: {found}, undisturbed: {wanted}")
    return 1


def forked(files: list[Path]) -> int:
    """A worker in a process of its own: forked, so that its time goes into the work and not into imports."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = load(files)
    except PremortemError as error:
        print(error, flush=True)
    finally:
        os._exit(code)


def deaths(folder: Path, count: int, seed: int) -> int:
    """Kill `count` workers at random moments; the exit code says whether every round ended as undisturbed."""
    files = [folder / f"invoices-{number}.csv" for number in range(FILES)]
    for number, file in enumerate(files):
        write_sample(file, rows=FILE_ROWS, seed=number)
    os.environ["PREMORTEM_RETAIL_CHUNK_ROWS"] = "500"
    expected = folder / "undisturbed-files.json"
    clean_s = min(undisturbed(files) for _ in range(3))
    expected.write_text(json.dumps(state()))
    rng = random.Random(seed)
    struck, rounds, wrong = 0, 0, 0
    print(f"\ndeaths: {count} of two workers on {FILES} files, {clean_s:.2f} s undisturbed, --seed {seed}", flush=True)
    while struck < count:
        reset()
        rounds += 1
        died, well = one_round(files, rng, clean_s, min(DEATHS_A_ROUND, count - struck))
        struck += died
        if check(expected) or not well:
            wrong += 1
            print(f"  round {rounds}: WRONG", flush=True)
    (folder / "deaths.json").write_text(
        json.dumps({"deaths": struck, "rounds": rounds, "wrong": wrong, "seed": seed, "undisturbed_s": clean_s})
    )
    print(f"deaths: {struck} in {rounds} rounds, {wrong} rounds with other rows or sums than undisturbed")
    return 1 if wrong else 0


def undisturbed(files: list[Path]) -> float:
    """How many seconds one worker needs that nobody kills."""
    reset()
    began = time.monotonic()
    ended(forked(files))
    return time.monotonic() - began


def one_round(files: list[Path], rng: random.Random, clean_s: float, count: int) -> tuple[int, bool]:
    """Two workers, killed and started again `count` times or until there is nothing left to do, then left alone.

    How many deaths there were, and whether those that nobody killed came to a good end.
    """
    workers = [forked(files), forked(files)]
    struck = 0
    while struck < count:
        time.sleep(rng.uniform(0, clean_s / 2))
        victims = rng.choice(([0], [1], [0, 1]))
        died = sum(killed(workers[victim]) for victim in victims)
        for victim in victims:
            workers[victim] = forked(files)
        if not died:  # all is loaded: whoever is started now has nothing to be killed in
            break
        struck += died
    codes = [ended(worker) for worker in workers]
    if any(codes):
        print(f"  workers that nobody killed ended with {codes}", flush=True)
    return struck, not any(codes)


def killed(worker: int) -> int:
    """Kill; 1 where it was still at work, 0 where it had come to its end before."""
    os.kill(worker, signal.SIGKILL)
    return 1 if os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) == -signal.SIGKILL else 0


def ended(worker: int) -> int:
    """Its exit code; killed, and told, where it does not end."""
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        pid, status = os.waitpid(worker, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)
    print(f"  a worker did not come to its end within {END_S:g} s")
    return -1


def sweeps(folder: Path, budget: int, jobs: int) -> int:
    """The system calls of a chunk's end, and all messages; the worse exit code."""
    file, expected = folder / "invoices.csv", folder / "undisturbed.json"
    write_sample(file, rows=ROWS, seed=1)
    os.environ["PREMORTEM_RETAIL_CHUNK_ROWS"] = str(CHUNK_ROWS)
    os.environ["PREMORTEM_RETAIL_STATEMENT_TIMEOUT_S"] = "2"
    reset()
    load([file])
    expected.write_text(json.dumps(state()))
    codes = []
    for name, options, word in (
        ("run-system-calls", ["--watch", "file,socket,read", "--from-mark"], "boundary"),
        ("run-messages", ["--wire", URL], "load"),
    ):
        this = [sys.executable, str(Path(__file__).resolve())]
        command = [sys.executable, "-m", "premortem", "sweep", *options, "--restart"]
        command += ["--html", str(folder / f"{name}.html"), "--setup", shlex.join([*this, "reset"])]
        command += ["--check", shlex.join([*this, "check", str(expected)]), "--time-limit", "30"]
        command += ["--budget", str(budget), "--jobs", str(jobs), "--", *this, word, str(file)]
        print(f"\n{name}: {shlex.join(command)}", flush=True)
        codes.append(subprocess.run(command, check=False).returncode)
    return max(codes)


def run(folder: Path, budget: int, seed: int) -> int:
    """All three parts, on a server of their own; the worst exit code."""
    folder.mkdir(parents=True, exist_ok=True)
    with Servers() as servers:
        os.environ[URL] = databases.create(servers.postgres().admin_url, "campaign")
        return max(deaths(folder, budget or DEATHS, seed), sweeps(folder, budget, jobs=1))


def main() -> int:
    """Read the word and do it."""
    parser = argparse.ArgumentParser(description="The retail run under fire.")
    words = parser.add_subparsers(dest="word", required=True)
    words.add_parser("reset")
    for word in ("load", "boundary"):
        words.add_parser(word).add_argument("file", type=Path)
    words.add_parser("check").add_argument("expected", type=Path)
    running = words.add_parser("run")
    running.add_argument("--budget", type=int, default=0, help=f"deaths, and points of each sweep; 0: {DEATHS}, all")
    running.add_argument("--seed", type=int, default=0, help="draws the moments of death")
    running.add_argument("--folder", type=Path, default=Path(".premortem/campaign"))
    given = parser.parse_args()
    match given.word:
        case "reset":
            reset()
        case "load":
            return load([given.file.resolve()])
        case "boundary":
            return load([given.file.resolve()], from_second_chunk=True)
        case "check":
            return check(given.expected)
        case _:
            return run(given.folder.resolve(), given.budget, given.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
