"""One service is down, and the log fills with one sentence.

Cause:       Every failed call is a line with its traceback; in an outage calls fail as fast as they can be made.
Effect:      Gigabytes by the morning, a full disk, a bill for the log's storage; and the one other thing that
             went wrong is on page nine thousand.
Fix:         The first few of a kind are written, the others counted; one line says how many there were.
Prevention:  premortem.observe.logging.Repeats, which is on by default; a breaker, so that fewer calls are made at all.
"""

import json
import traceback
import urllib.error
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.observe.logging import FileSink, JsonLog, Repeats

PREDICTION = Violated("an outage takes no more than a page of log")
CALLS = 200


def broken(path, calls):
    """Make the calls; log each that fails."""
    with path.open("a") as log:
        for number, call in enumerate(calls):
            try:
                call()
            except Exception:
                line = {"level": "error", "event": f"call {number} failed", "why": traceback.format_exc()}
                print(json.dumps(line), file=log)


def fixed(path, calls):
    """Make the calls; log the first five of a kind, and how many more there were."""
    with JsonLog(FileSink(path), repeats=Repeats(first=5)) as log:
        for number, call in enumerate(calls):
            try:
                call()
            except Exception:
                log.write("error", f"call {number} failed", {"why": traceback.format_exc()})


def scenario(work, lab):
    """Calls go well; then the shop is down for two hundred of them, and once, in between, the till is empty."""
    server, path = lab.web_server(), lab.folder / "shop.log"

    def ask():
        try:
            urllib.request.urlopen(server.url).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise

    def empty():
        raise LookupError("the till is empty")

    work(path, [ask] * 10)
    with server.failing(503):
        work(path, [*[ask] * (CALLS - 100), empty, *[ask] * 100])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lab.check("an outage takes no more than a page of log", len(lines) <= 50, f"{len(lines)} lines")
    lab.check(
        "it says how many failed", 5 + sum(line.get("held_back", 0) for line in lines) == CALLS + 1, f"{lines[-1]}"
    )


if __name__ == "__main__":
    run_alone(__file__)
