"""One slow service makes the whole page slow.

Cause:       A call without a time limit waits as long as the other side likes; the page makes several of them.
Effect:      Every page takes as long as the slowest thing on it; visitors reload, and the load doubles.
Fix:         0.5 s for an attempt and 2 s for all of it; a circuit breaker, so that what is known to be slow is not even
             asked; and a fallback that is worth having.
Prevention:  premortem.policies: Fallback, Deadline, CircuitBreaker, Timeout, in this order from the outside in.
"""

import time
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import (
    CircuitBreaker,
    Consecutive,
    Deadline,
    Fallback,
    Policy,
    RejectedError,
    TimeLimitError,
    Timeout,
)

PREDICTION = Violated("a page takes no longer than 2 s")


def read(url):
    """What a page needs of another service."""
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def broken(urls):
    """Ask for one part of the page after the other."""
    return [read(url) for url in urls]


def fixed(urls):
    """The same within limits; a part that does not come in time is left out."""
    guarded = Policy(
        "recommendations",
        Fallback(on=(TimeLimitError, RejectedError), value=b"nothing to recommend"),
        Deadline(2),
        CircuitBreaker(trip=Consecutive(2)),
        Timeout(0.5),
    )(read)
    return [guarded(url) for url in urls]


def scenario(page, lab):
    """All is quick; then every answer takes three quarters of a second, and more than the page can wait for."""
    server = lab.web_server()
    urls = [f"{server.url}/{part}" for part in ("similar", "seen", "popular", "new")]
    lab.check("it is whole in clear weather", page(urls) == [b"ok"] * 4)

    asked = server.count()
    with server.slow(0.75):
        began = time.monotonic()
        parts = page(urls)
        took_s = time.monotonic() - began

    lab.check("a page takes no longer than 2 s", took_s <= 2, f"it took {took_s:.1f} s")
    lab.check("every part has an answer", len(parts) == 4, f"{parts}")
    lab.check("what is slow is left alone", server.count() - asked == 2, f"{server.count() - asked} requests")


if __name__ == "__main__":
    run_alone(__file__)
