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
CLIENTS = 40


def broken(url):
    """Try again in 0.3 s."""
    for _ in range(5):
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.read()
        except urllib.error.URLError:
            time.sleep(0.3)
    raise TimeoutError(f"{url} did not answer")


def fixed(url):
    """Try again after a wait that is drawn at random, from more and more time."""

    @Policy("orders", Retry(8, on=urllib.error.URLError, wait=Backoff(0.4, cap_s=2)))
    def ask():
        with urllib.request.urlopen(url) as answer:
            return answer.read()

    return ask()


def scenario(fetch, lab):
    """One client asks in clear weather; then forty meet an outage at the same moment."""
    server = lab.web_server()
    lab.check("it answers in clear weather", fetch(server.url) == b"ok")

    answers = []
    clients = [threading.Thread(target=lambda: answers.append(fetch(server.url))) for _ in range(CLIENTS)]
    with server.failing(503):
        for client in clients:
            client.start()
        while server.count() < CLIENTS + 1:
            time.sleep(0.01)
    for client in clients:
        client.join()

    lab.check("everybody is served in the end", answers == [b"ok"] * CLIENTS, f"{len(answers)} of {CLIENTS}")
    retries = sorted(moment for moment, _ in server.requests)[CLIENTS + 1 :]
    most = max(sum(1 for other in retries if 0 <= other - moment < 0.05) for moment in retries)
    lab.check("the clients do not come back as one", most <= CLIENTS / 2, f"{most} of {CLIENTS} within 50 ms")


if __name__ == "__main__":
    run_alone(__file__)
