"""All clients come back at the same moment, and the service goes down again.

Cause:       Every client retries after the same fixed wait: what failed together comes back together.
Effect:      The service that has just recovered gets the load of all clients within a few milliseconds, and fails for
             all of them at once; the next wave comes as one, too.
Fix:         Waits that grow and are drawn at random (full jitter), so that clients spread over the time there is.
Prevention:  premortem.policies.Backoff, whose default is full jitter; a RetryBudget, against retries without end.
"""

import threading
import time
import urllib.error
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Backoff, Policy, Retry

PREDICTION = Violated("the clients do not come back as one")
CLIENTS = 20


def broken(url):
    """Try again in half a second."""
    for _ in range(8):
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.read()
        except urllib.error.URLError:
            time.sleep(0.5)
    raise TimeoutError(f"{url} did not answer")


def fixed(url):
    """Try again after a wait that is drawn at random, from more and more time."""

    @Policy("orders", Retry(8, on=urllib.error.URLError, wait=Backoff(3, cap_s=3)))
    def ask():
        with urllib.request.urlopen(url) as answer:
            return answer.read()

    return ask()


def scenario(fetch, lab):
    """One client asks in clear weather; then twenty fail at the same moment."""
    server = lab.web_server()
    lab.check("it answers in clear weather", fetch(server.url) == b"ok")

    answers = []
    clients = [threading.Thread(target=lambda: answers.append(fetch(server.url))) for _ in range(CLIENTS)]
    with server.failing(503, together=CLIENTS):
        for client in clients:
            client.start()
        while server.count() < CLIENTS + 1:
            time.sleep(0.01)
    outage = server.count()
    for client in clients:
        client.join()

    lab.check("everybody is served in the end", answers == [b"ok"] * CLIENTS, f"{len(answers)} of {CLIENTS}")
    back = sorted(moment for moment, _ in server.requests[outage:])
    most = max(sum(moment <= other < moment + 0.5 for other in back) for moment in back)
    lab.check("the clients do not come back as one", most <= CLIENTS * 0.6, f"{most} of {CLIENTS} in half a second")


if __name__ == "__main__":
    run_alone(__file__)
