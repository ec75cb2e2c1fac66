"""A checkpoint with one wrong digit is believed, and a row is left out for ever.

Cause:       A bad sector, a copy that went wrong, a hand that helped: "done" is 7 where it was 6. It is good JSON.
Effect:      The next run goes on after a row that nobody has read. No error, that day or ever.
Fix:         A checksum tells that this is not what was written; the version before it is still there, and is used.
             Nothing is counted twice, since total and progress are one document.
Prevention:  premortem.durable.Checkpoint, which says so aloud (checkpoint.damaged); count rows against the source.
"""

import json

from premortem.durable import Checkpoint, FileStore
from premortem.errors import Violated
from premortem.events import listening
from premortem.experiment import run_alone

PREDICTION = Violated("every row is counted once")


def broken(folder, rows):
    """Go on with the sum where the last run stopped."""
    file = folder / "sum.json"
    state = json.loads(file.read_text()) if file.exists() else {"done": 0, "total": 0}
    state = {"done": len(rows), "total": state["total"] + sum(rows[state["done"] :])}
    file.write_text(json.dumps(state, separators=(",", ":")))
    return state["total"]


def fixed(folder, rows):
    """Go on with the sum where the last run stopped of which a good word is kept."""
    checkpoint = Checkpoint(FileStore(folder), "sum")
    saved = checkpoint.load()
    state = saved.value if saved else {"done": 0, "total": 0}
    state = {"done": len(rows), "total": state["total"] + sum(rows[state["done"] :])}
    checkpoint.save(state)
    return state["total"]


def scenario(add_up, lab):
    """Three rows come, then three more; a digit of what is kept changes; then four more come."""
    rows = [lab.random.randrange(1, 100) for _ in range(10)]
    add_up(lab.folder, rows[:3])
    lab.check("it goes on where it stopped", add_up(lab.folder, rows[:6]) == sum(rows[:6]))

    (newest,) = (file for file in lab.folder.rglob("*") if file.is_file() and b'"done":6' in file.read_bytes())
    damaged, told = newest.read_bytes().replace(b'"done":6', b'"done":7'), []
    with lab.files.overwritten(newest, damaged, "6 rows done became 7"), listening(told.append):
        total = add_up(lab.folder, rows)

    lab.check("every row is counted once", total == sum(rows), f"{total} for {sum(rows)}")
    lab.check("the damage is told", "checkpoint.damaged" in {event.name for event in told})


if __name__ == "__main__":
    run_alone(__file__)
