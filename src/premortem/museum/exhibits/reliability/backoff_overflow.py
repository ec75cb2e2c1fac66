"""After a long weekend the patient job dies of its own patience.

Cause:       The wait is doubled each time and then capped; but it is doubled first, and a float has an end: the 1025th
             doubling is no number any more.
Effect:      OverflowError, seventeen hours into an outage that the job was made to outlast; nobody had tried so long.
Fix:         Cap what is doubled, not what comes of it: after ten doublings the cap is reached.
Prevention:  premortem.policies.Backoff; let a test wait a thousand times, with a clock that is not the wall's.
"""

import contextlib

from premortem.experiment import run_alone

PREDICTION = OverflowError
CAP_S = 60


def broken(path, sleep):
    """Wait for the file, longer and longer, a minute at most each time."""
    attempt = 0
    while not path.exists():
        sleep(min(CAP_S, 0.1 * 2**attempt))
        attempt += 1
    return path.read_text()


def fixed(path, sleep):
    """Wait for the file, longer and longer, a minute at most each time."""
    attempt = 0
    while not path.exists():
        sleep(min(CAP_S, 0.1 * 2 ** min(attempt, 10)))
        attempt += 1
    return path.read_text()


def scenario(fetch, lab):
    """The file is there; then it is gone for a weekend of 1500 waits, which take no time here."""
    path, waits, outage = lab.folder / "orders.csv", [], contextlib.ExitStack()
    path.write_text("orders")
    lab.check("it is read in clear weather", fetch(path, waits.append) == "orders" and not waits)

    def sleep(seconds):
        waits.append(seconds)
        if len(waits) == 1500:
            outage.close()

    with outage:
        outage.enter_context(lab.files.removed(path))
        lab.check("it is read after the weekend", fetch(path, sleep) == "orders")
    lab.check("no wait is longer than a minute", max(waits) == CAP_S, f"{max(waits):g} s")
    lab.check("the first waits are short", waits[:3] == [0.1, 0.2, 0.4], f"{waits[:3]}")


if __name__ == "__main__":
    run_alone(__file__)
