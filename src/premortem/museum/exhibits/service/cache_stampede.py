"""A cached answer runs out, and everybody goes to the database for it at once.

Cause:       Between the moment when the answer runs out and the moment when the new one is there, every request finds
             nothing and fetches it itself.
Effect:      The slow query that the cache was made for runs twenty times at once; it gets slower, so more requests
             find nothing: the database goes down because of its cache.
Fix:         Single flight: the first one to find nothing fetches it, the others wait for that answer.
Prevention:  premortem.policies.SingleFlight around what fills a cache; StaleCache, to give the old one meanwhile.
"""

import threading
import urllib.request

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Policy, SingleFlight

PREDICTION = Violated("what runs out is fetched once")
VISITORS = 20
flights = Policy("prices", SingleFlight())


def broken(cache, url):
    """From the cache, or else from the source."""
    if url not in cache:
        cache[url] = read(url)
    return cache[url]


def fixed(cache, url):
    """From the cache, or else from the source, where one asks for all."""
    if url not in cache:
        cache[url] = read_once(url)
    return cache[url]


def read(url):
    """The slow query."""
    with urllib.request.urlopen(url) as answer:
        return answer.read()


read_once = flights(read)


def scenario(look_up, lab):
    """A visitor finds it in the cache; then it runs out while the source is slow, and twenty come at once."""
    server = lab.web_server()
    url, cache = f"{server.url}/prices", {}
    look_up(cache, url)
    look_up(cache, url)
    lab.check("it is cached in clear weather", server.count() == 1, f"{server.count()} requests")

    cache.clear()
    answers, gate = [], threading.Barrier(VISITORS)

    def visit():
        gate.wait()
        answers.append(look_up(cache, url))

    with server.slow(0.3):
        visitors = [threading.Thread(target=visit) for _ in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()

    lab.check("everybody has the answer", answers == [b"ok"] * VISITORS, f"{len(answers)} of {VISITORS}")
    lab.check("what runs out is fetched once", server.count() == 2, f"{server.count() - 1} times")


if __name__ == "__main__":
    run_alone(__file__)
