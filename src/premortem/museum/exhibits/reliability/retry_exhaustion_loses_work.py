"""After the third attempt a message is acknowledged like all the others, and is gone.

Cause:       The consumer must not stop for one message, so when its attempts are used it writes a line in the log and
             goes on; going on acknowledges.
Effect:      Every message that met a bug or an outage is lost. After the fix nobody can do them again: what they were
             is in no system, only that there was something, in a log that rotates.
Fix:         What could not be done is kept with its reason, and done again after the fix, once.
Prevention:  premortem.durable.DeadLetters, with a stop when their share passes a limit; alert on the age of the oldest.
"""

import logging
import urllib.error
import urllib.request

from premortem.durable import DeadLetters, FileLetters
from premortem.errors import Violated
from premortem.experiment import run_alone

PREDICTION = Violated("each order arrives once")
ATTEMPTS = 3


def send(url, order):
    """Hand an order to the shop."""
    with urllib.request.urlopen(f"{url}/{order}") as answer:
        answer.read()


def broken(url, orders, folder):
    """Send each order; one that cannot be sent must not hold up the others."""
    for order in orders:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                send(url, order)
                break
            except urllib.error.HTTPError as error:
                logging.warning("%s: attempt %s of %s: %s", order, attempt, ATTEMPTS, error)
                error.close()


def fixed(url, orders, folder):
    """Send each order, and again what could not be sent the last time; what cannot be sent is kept."""
    letters = DeadLetters(FileLetters(folder / "orders.letters"), "orders")
    letters.replay(lambda letter: send(url, letter.payload))
    for order in orders:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                send(url, order)
                break
            except urllib.error.HTTPError as error:
                if attempt == ATTEMPTS:
                    letters.add(order, f"HTTP {error.code}", key=order, attempts=attempt)
                error.close()


def scenario(deliver, lab):
    """Monday goes well; on Tuesday the shop fails on one of three orders; on Wednesday and Thursday it is mended."""
    server = lab.web_server()
    deliver(server.url, ["mon-1", "mon-2"], lab.folder)
    with server.failing(500, "/tue-2"):
        deliver(server.url, ["tue-1", "tue-2", "tue-3"], lab.folder)

    before = server.count()
    deliver(server.url, ["wed-1"], lab.folder)
    deliver(server.url, ["thu-1"], lab.folder)
    arrived = sorted(path.strip("/") for _, path in server.requests[before:])
    lab.check("one bad order does not hold up the others", server.count("/tue-3") == 1)
    lab.check("each order arrives once", arrived == ["thu-1", "tue-2", "wed-1"], f"after the fix: {arrived}")


if __name__ == "__main__":
    run_alone(__file__)
