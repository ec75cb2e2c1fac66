"""A worker that was thought dead comes back, and does what another has done meanwhile.

Cause:       A worker stands still for a while (a paused machine, a stopped container, swap). The scheduler starts a
             second one, which does the work. Then the first one goes on where it stood.
Effect:      Chunks are loaded twice, and the progress goes back to where the first one was.
Fix:         Whoever starts takes a number that is higher than all before (a fencing token); progress and chunk are one
             transaction, which finds out whether the number is still the highest.
Prevention:  premortem.durable.Checkpoint.claim; a lease alone is not enough, since the sleeper cannot see it expire.
"""

import multiprocessing

import psycopg

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("postgres",)
PREDICTION = Violated("each chunk is loaded once")


def broken(url, chunks, reached):
    """Load the chunks that are not loaded yet."""
    with psycopg.connect(url, autocommit=True) as db:
        (done,) = db.execute("SELECT done FROM progress").fetchone()
        for number in range(done, chunks):
            reached(number)
            with db.transaction():
                db.execute("UPDATE progress SET done = %s", (number + 1,))
                db.execute("INSERT INTO loaded VALUES (%s)", (number,))


def fixed(url, chunks, reached):
    """Load the chunks that are not loaded yet, until somebody else does."""
    with psycopg.connect(url, autocommit=True) as db:
        done, fence = db.execute("UPDATE progress SET fence = fence + 1 RETURNING done, fence").fetchone()
        for number in range(done, chunks):
            reached(number)
            with db.transaction():
                mine = "UPDATE progress SET done = %s WHERE fence = %s"
                if db.execute(mine, (number + 1, fence)).rowcount == 0:
                    return
                db.execute("INSERT INTO loaded VALUES (%s)", (number,))


def scenario(load, lab):
    """One worker loads two chunks; the next one is frozen in the middle of four more, and another takes its place."""
    db, fork = lab.postgres, multiprocessing.get_context("fork")
    db.query("CREATE TABLE progress AS SELECT 0 AS done, 0 AS fence")
    db.query("CREATE TABLE loaded (chunk int)")
    load(db.url, 2, reached=lambda _: None)

    stands, goes_on = fork.Event(), fork.Event()
    first = fork.Process(target=load, args=(db.url, 6, lambda chunk: chunk < 4 or (stands.set(), goes_on.wait())))
    first.start()
    stands.wait()
    with lab.processes.frozen(first.pid, "the first worker"):
        load(db.url, 6, reached=lambda _: None)
    goes_on.set()
    first.join()

    loaded = [chunk for (chunk,) in db.query("SELECT chunk FROM loaded ORDER BY chunk")]
    lab.check("each chunk is loaded once", loaded == list(range(6)), f"{loaded}")
    lab.check("all is marked as done", db.value("SELECT done FROM progress") == 6)


if __name__ == "__main__":
    run_alone(__file__)
