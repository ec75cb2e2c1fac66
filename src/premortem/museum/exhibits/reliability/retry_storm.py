"""Three layers retry three times each, and a tired service gets 27 times the load.

Cause:       The page retries the client, the client retries the transport, the transport retries the request: each is
             right by itself, and together they multiply.
Effect:      A service that fails some calls gets so many more that it fails all, and cannot come back meanwhile.
Fix:         One layer retries; an error that has been retried goes up as it is.
Prevention:  premortem.policies.Retry knows an error that an inner one gave up on; a RetryBudget bounds all of them.
"""

import urllib.error
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Fixed, Policy, Retry

PREDICTION = Violated("an outage does not multiply the load")
CALLS, ATTEMPTS = 5, 3


def ask(url):
    """One request."""
    try:
        with urllib.request.urlopen(url) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        error.close()
        raise


def three_times(function):
    """What everybody has somewhere."""

    def call(url, left=ATTEMPTS):
        try:
            return function(url)
        except urllib.error.URLError:
            if left == 1:
                raise
            return call(url, left - 1)

    return call


def broken(url):
    """Show the page, by way of the client, by way of the transport."""
    return three_times(three_times(three_times(ask)))(url)


def fixed(url):
    """Show the page, by way of the client, by way of the transport, whose retries know of each other."""
    call = ask
    for layer in ("transport", "client", "page"):
        call = Policy(layer, Retry(ATTEMPTS, on=urllib.error.URLError, wait=Fixed(0)))(call)
    return call(url)


def scenario(show, lab):
    """A page in clear weather; five while the service is down."""
    server = lab.web_server()
    lab.check("it shows in clear weather", show(server.url) == b"ok")

    before = server.count()
    with server.failing(503):
        for _ in range(CALLS):
            try:
                show(server.url)
            except urllib.error.HTTPError as error:
                lab.check("the service's own error comes out", error.code == 503, f"{error}")
    asked = server.count() - before
    lab.check("an outage does not multiply the load", asked <= CALLS * ATTEMPTS, f"{asked} requests for {CALLS} pages")


if __name__ == "__main__":
    run_alone(__file__)
