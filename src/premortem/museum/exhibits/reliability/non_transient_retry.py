"""A request that can never succeed is tried again and again, and holds up what would.

Cause:       The retry is for "errors of the network", and in this client's tree of exceptions a refusal of the server
             is one of them: 422 is treated like 503.
Effect:      Each bad order costs all its attempts and all their waits; a customer's typing error becomes load, and the
             log says "the shop is down" about a shop that has answered every time.
Fix:         Sort errors before retrying: "later" (503, 429, a lost connection) is tried again, "no" is believed at once
             and goes to whoever can mend it.
Prevention:  premortem.policies.Retry(on=..., never=...) with narrow types; a test that counts the attempts after a 422.
"""

import urllib.error
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Backoff, Policy, Retry

PREDICTION = Violated("what is refused is asked for once")
LATER = (408, 425, 429)


class Refused(Exception):
    """The shop has said no, and will say so again."""


def send(url, order):
    """Hand an order to the shop."""
    with urllib.request.urlopen(f"{url}/{order}") as answer:
        return answer.read()


def broken(url, order):
    """Send an order, in four attempts."""
    return Policy("shop", Retry(4, on=urllib.error.URLError, wait=Backoff(0.02)))(send)(url, order)


def fixed(url, order):
    """Send an order, in four attempts, as long as the answer is not no."""

    def sent(url, order):
        try:
            return send(url, order)
        except urllib.error.HTTPError as error:
            if error.code >= 500 or error.code in LATER:
                raise
            raise Refused(f"{order}: HTTP {error.code}; mend the order") from error

    return Policy("shop", Retry(4, on=urllib.error.URLError, never=(Refused,), wait=Backoff(0.02)))(sent)(url, order)


def scenario(order, lab):
    """An order in clear weather, one while the shop is too busy, and one that the shop refuses."""
    server = lab.web_server()
    lab.check("it sends in clear weather", order(server.url, "mon-1") == b"ok")
    asked = {}
    for day, status in (("tue-1", 503), ("wed-1", 422)):
        with server.failing(status, f"/{day}"):
            try:
                order(server.url, day)
            except (urllib.error.HTTPError, Refused) as error:
                print(f"{day}: {error}")
        asked[status] = server.count(f"/{day}")
    lab.check("a busy shop is asked again", asked[503] == 4, f"{asked}")
    lab.check("what is refused is asked for once", asked[422] == 1, f"asked {asked[422]} times")


if __name__ == "__main__":
    run_alone(__file__)
