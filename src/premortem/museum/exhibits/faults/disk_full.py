"""The disk is full, and yesterday's report goes with today's.

Cause:       Opening for writing empties the good report first; then there is no room for the new one.
Effect:      OSError: No space left on device, and half a report, or none, is what everybody downloads.
Fix:         Write beside it and rename at the end; what cannot be finished is removed, which gives the room back.
Prevention:  premortem.faults.disk in a test of every writer; alert on free space before it is gone.
"""

import contextlib

from premortem.errors import Violated
from premortem.experiment import run_alone

NEEDS = ("small_disk",)
PREDICTION = Violated("there is a whole report")


def broken(path, rows):
    """Write the report."""
    with path.open("w") as file:
        file.writelines(rows)


def fixed(path, rows):
    """Write the report, and put it in the old one's place when all of it is there."""
    draft = path.with_suffix(".draft")
    try:
        with draft.open("w") as file:
            file.writelines(rows)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def scenario(export, lab):
    """Monday's report is written; on Tuesday somebody's log has filled the disk; on Wednesday there is room again."""
    disk = lab.small_disk(1 << 17)
    report, (monday, tuesday, wednesday) = disk.folder / "report.csv", (day_of(day) for day in ("mon", "tue", "wed"))
    disk.run(export, report, monday)
    with disk.full(leave_bytes=4096), contextlib.suppress(OSError):
        disk.run(export, report, tuesday)

    found = (disk.seen / "report.csv").read_text()
    lab.check("there is a whole report", found in ("".join(monday), "".join(tuesday)), f"{len(found)} characters")
    disk.run(export, report, wednesday)
    lab.check("the next one is written", (disk.seen / "report.csv").read_text() == "".join(wednesday))


def day_of(name):
    """A hundred rows of a day, more of them from day to day."""
    length = {"mon": 100, "tue": 200, "wed": 300}[name]
    return [f"{name},{number},{'x' * length}\n" for number in range(100)]


if __name__ == "__main__":
    run_alone(__file__)
