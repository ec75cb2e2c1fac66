"""All attempts are used, and the work is gone without a trace.

Cause:       The loop of retries ends, and the function returns None as if nothing had been asked of it.
Effect:      The outage is over, every light is green, and the orders that came during it are in no system.
Fix:         When the attempts are used, the error goes up with the story of them; whoever called keeps what could not
             be sent, and sends it when the service is back.
Prevention:  premortem.policies.Retry raises the last error, it never returns nothing; drain what was kept.
"""

import time
import urllib.error
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Backoff, Policy, Retry

PREDICTION = Violated("no order is lost")


def send(url, order):
    """Hand an order to the shop."""
    with urllib.request.urlopen(f"{url}/{order}") as answer:
        answer.read()


def broken(url, orders, kept):
    """Send each order, in three attempts."""
    for order in orders:
        for _ in range(3):
            try:
                send(url, order)
                break
            except urllib.error.URLError:
                time.sleep(0.02)


def fixed(url, orders, kept):
    """Send each order, in three attempts; keep what could not be sent, and begin with what was kept."""
    guarded = Policy("shop", Retry(3, on=urllib.error.URLError, wait=Backoff(0.02)))(send)
    waiting = [*kept, *orders]
    kept.clear()
    for order in waiting:
        try:
            guarded(url, order)
        except urllib.error.URLError as error:
            kept.append(order)
            print(*error.__notes__)
            error.close()


def scenario(deliver, lab):
    """Monday goes well, on Tuesday the shop is down, on Wednesday it is back."""
    server = lab.web_server()
    kept = []
    deliver(server.url, ["monday-1"], kept)
    lab.check("it sends in clear weather", server.count("/monday-1") == 1)

    with server.failing(503):
        deliver(server.url, ["tuesday-1", "tuesday-2"], kept)
    before = server.count()

    deliver(server.url, ["wednesday-1"], kept)
    arrived = sorted(path.strip("/") for _, path in server.requests[before:])
    lab.check("no order is lost", arrived == ["tuesday-1", "tuesday-2", "wednesday-1"], f"arrived: {arrived}")
    lab.check("nothing is kept that was sent", kept == [], f"{kept}")


if __name__ == "__main__":
    run_alone(__file__)
