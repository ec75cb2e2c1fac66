"""A permanent error is retried for ever.

Cause:       "while True, try, except, continue": the loop was written for a blip, and a 404 is an error like any other.
Effect:      The job never ends, one processor is at 100 %, and the service is asked thousands of times a second for
             something that it does not have.
Fix:         Say which errors may pass (a refused connection) and how often to try; everything else goes up at once.
Prevention:  premortem.policies.Retry: `on` has no default, attempts are bounded, waits grow.
"""

import urllib.error
import urllib.request

from premortem.errors import Hung
from premortem.experiment import run_alone
from premortem.policies import Policy, Retry

PREDICTION = Hung(after_s=1.5)


def broken(url):
    """Ask until there is an answer."""
    while True:
        try:
            with urllib.request.urlopen(url) as answer:
                return answer.read()
        except urllib.error.URLError:
            continue


def fixed(url):
    """Ask up to three times where that can help."""

    @Policy("catalogue", Retry(3, on=urllib.error.URLError, never=(urllib.error.HTTPError,)))
    def ask():
        with urllib.request.urlopen(url) as answer:
            return answer.read()

    return ask()


def scenario(fetch, lab):
    """The article is there; then it is gone for good."""
    server = lab.web_server()
    url = f"{server.url}/articles/85123A"
    lab.check("it answers in clear weather", fetch(url) == b"ok")

    asked = server.count()
    with server.failing(404):
        try:
            fetch(url)
        except urllib.error.HTTPError as error:
            lab.check("the error that comes out is the server's own", error.code == 404, f"{error}")
            error.close()
    lab.check("a permanent error is not retried", server.count() == asked + 1, f"{server.count() - asked} requests")


if __name__ == "__main__":
    run_alone(__file__)
