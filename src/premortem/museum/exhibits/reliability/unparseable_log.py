"""One odd value, and the log's reader stops at that line.

Cause:       json.dumps writes NaN for what is not a number, and half a character as it stands: Python reads both back,
             a strict reader (jq, PostgreSQL, Go, a log store) refuses them.
Effect:      The shipper drops the line, or stops at it; what the search does not find is the very case that is sought.
Fix:         Before it is written, every value becomes one that JSON has: a text where there is none.
Prevention:  premortem.observe.logging: any value gives one line that parses, and Hypothesis tries to prove otherwise.
"""

import csv
import json

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.observe.logging import FileSink, JsonLog

PREDICTION = Violated("a strict reader takes every line")


def rows_of(source):
    """Names and prices; a byte that is no UTF-8 is kept as Python keeps it."""
    with source.open(encoding="utf-8", errors="surrogateescape") as file:
        return [(row["name"], float(row["price"])) for row in csv.DictReader(file)]


def broken(source, log):
    """Load the prices; log each."""
    with log.open("a") as file:
        for name, price in rows_of(source):
            print(json.dumps({"event": "loaded", "name": name, "price": price}), file=file)


def fixed(source, log):
    """Load the prices; log each, whatever it is."""
    with JsonLog(FileSink(log), repeats=None) as lines:
        for name, price in rows_of(source):
            lines.write("info", "loaded", {"name": name, "price": price})


def strictly(line):
    """A line as a strict reader takes it."""

    def refused(name):
        raise ValueError(f"{name} is no JSON")

    found = json.loads(line, parse_constant=refused)
    json.dumps(found, ensure_ascii=False).encode()
    return found


def scenario(load, lab):
    """Monday's prices are prices; on Tuesday one is missing, and a name comes from another century's encoding."""
    source, log = lab.folder / "prices.csv", lab.folder / "load.log"
    source.write_text("name,price\nlantern,2.55\n")
    load(source, log)
    lab.check("Monday is read", [strictly(line)["price"] for line in log.read_text().splitlines()] == [2.55])

    with lab.files.overwritten(
        source, b"name,price\ncaf\xe9,1.25\nmug,nan\n", "a name in Latin-1, a price that is none"
    ):
        load(source, log)
    bad = []
    for line in log.read_text().splitlines():
        try:
            strictly(line)
        except ValueError as error:
            bad.append(f"{line}: {error}")
    lab.check("a strict reader takes every line", not bad, "; ".join(bad))


if __name__ == "__main__":
    run_alone(__file__)
