"""The log's disk is full, and orders are no longer shipped.

Cause:       A log line is written like any other output: when there is no room for it, the write raises.
Effect:      OSError: No space left on device stops the shipping, for want of a line about it; and the line that was
             cut off half way cannot be read by any machine afterwards.
Fix:         What cannot be logged is counted, and the work goes on; the log itself says so when there is room again.
Prevention:  premortem.observe.logging, whose calls never raise; alert on its event log.lost; rotate; watch the disk.
"""

import contextlib
import json

from premortem.experiment import run_alone
from premortem.observe.logging import FileSink, JsonLog

NEEDS = ("small_disk",)
PREDICTION = OSError


def broken(path, orders, ship):
    """Ship the orders, and write down each."""
    with path.open("a") as log:
        for order in orders:
            ship(order)
            print(json.dumps({"event": "shipped", "order": order, "slip": "x" * 200}), file=log, flush=True)


def fixed(path, orders, ship):
    """Ship the orders, and write down each where that can be done."""
    with JsonLog(FileSink(path), repeats=None) as log:
        for order in orders:
            ship(order)
            log.write("info", "shipped", {"order": order, "slip": "x" * 200})


def scenario(deliver, lab):
    """Five orders in clear weather; then the disk is full from the twentieth order to the sixtieth."""
    disk, shipped = lab.small_disk(1 << 17), []
    path, faults = disk.seen / "shop.log", contextlib.ExitStack()
    deliver(path, range(5), shipped.append)
    lab.check("orders are shipped in clear weather", shipped == [0, 1, 2, 3, 4])

    def ship(order):
        shipped.append(order)
        if order == 20:
            faults.enter_context(disk.full(leave_bytes=4096))
        if order == 60:
            faults.close()

    with faults:
        deliver(path, range(5, 100), ship)
    lab.check("every order is shipped once", shipped == list(range(100)), f"{len(shipped)} shipped")

    with lab.as_subject():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    written = sum(line["event"] == "shipped" for line in lines)
    lost = sum(line.get("lost", 0) for line in lines)
    lab.check("the log says how much it lacks", lost > 0 and written + lost == 100, f"{written} lines, {lost} lost")


if __name__ == "__main__":
    run_alone(__file__)
