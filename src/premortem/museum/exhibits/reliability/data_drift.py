"""The supplier sends pence instead of pounds, and every check is green.

Cause:       The checks look at one row at a time: a number, not negative, not empty. What changed is what the numbers
             mean, and no single row shows that.
Effect:      Revenue is a hundred times what it was. The load succeeds, the dashboards are pleased, and the wrong
             numbers are in every table that is computed from them until somebody wonders.
Fix:         Compare the file with those before it: if the middle price is more than three times off, nothing is loaded
             until a person has looked.
Prevention:  Keep a profile of each load (rows, middle, share of empty, distinct values), and hold the next one to it.
"""

import csv
import statistics

from premortem.errors import Violated
from premortem.experiment import run_alone

PREDICTION = Violated("a change of unit is stopped before it is loaded")
MOST = 3.0


class Drifted(ValueError):
    """A file is not like those before it."""


def valid_prices(path):
    """The prices of a file; each is a number and above zero."""
    with path.open() as file:
        prices = [float(row["price"]) for row in csv.DictReader(file)]
    if not prices or min(prices) <= 0:
        raise ValueError(f"{path.name}: every row needs a price above zero")
    return prices


def broken(path, loaded):
    """Load a file whose rows are all valid; `loaded` holds the prices of each day."""
    loaded.append(valid_prices(path))


def fixed(path, loaded):
    """Load a file whose rows are all valid and which is like those before it."""
    prices = valid_prices(path)
    if len(loaded) >= 3:
        usual = statistics.median(statistics.median(day) for day in loaded)
        middle = statistics.median(prices)
        if not usual / MOST < middle < usual * MOST:
            raise Drifted(f"{path.name}: the middle price is {middle:g}, and it used to be {usual:g}; ask the supplier")
    loaded.append(prices)


def scenario(load, lab):
    """Five usual days, one of them a sale; then the supplier has "modernised" the export; then it is put right."""
    path, loaded = lab.folder / "prices.csv", []
    for part in (1, 1, 0.6, 1, 1):
        path.write_text(as_csv(lab.random.uniform(1, 9) * part for _ in range(20)))
        load(path, loaded)
    lab.check("usual days and a sale are loaded", len(loaded) == 5)

    with lab.files.overwritten(path, as_csv(float(price * 100) for price in loaded[-1]).encode(), "prices in pence"):
        try:
            load(path, loaded)
        except Drifted as error:
            print(error)
    lab.check("a change of unit is stopped before it is loaded", len(loaded) == 5, f"highest: {max(map(max, loaded))}")
    load(path, loaded)
    lab.check("what was put right is loaded", len(loaded) == 6)


def as_csv(prices):
    """A file of prices."""
    return "price\n" + "".join(f"{price:.2f}\n" for price in prices)


if __name__ == "__main__":
    run_alone(__file__)
