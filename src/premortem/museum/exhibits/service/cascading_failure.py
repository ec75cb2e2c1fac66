"""One slow dependency takes all the workers, and everything else is down with it.

Cause:       Users, orders and search are called from one pool of workers; calls to the slow one pile up in it.
Effect:      Search is well, and nobody can search: every worker waits for orders. The whole site is down because of a
             part of it.
Fix:         A bulkhead for each dependency: orders may hold two workers, and whoever is the third is refused at once.
Prevention:  premortem.policies.Bulkhead around every dependency, smaller than the pool; watch `policy.bulkhead_full`.
"""

import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from premortem.errors import Violated
from premortem.experiment import run_alone
from premortem.policies import Bulkhead, BulkheadFullError, Policy

PREDICTION = Violated("search answers while orders is slow")


def broken(pool, urls):
    """Ask for all of it, in the workers that there are."""
    return [pool.submit(read, url) for url in urls]


def fixed(pool, urls):
    """Ask for all of it; no dependency gets more than two of the workers."""
    doors = {name: Policy(name, Bulkhead(2)) for name in ("users", "orders", "search")}
    return [pool.submit(doors[url.rsplit("/", 1)[1]](read), url) for url in urls]


def read(url):
    """Ask another service."""
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def scenario(site, lab):
    """Four workers; all is quick; then orders takes a second, and ten visitors want their orders first."""
    server = lab.web_server()
    users, orders, search = (f"{server.url}/{name}" for name in ("users", "orders", "search"))
    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in site(pool, [users, search])]
        lab.check("it answers in clear weather", answers == [b"ok", b"ok"])

        with server.slow(1.0, path="/orders"):
            began = time.monotonic()
            *ordered, searched = site(pool, [orders] * 10 + [search])
            lab.check("search answers", searched.result() == b"ok")
            took_s = time.monotonic() - began
            refused = sum(isinstance(order.exception(), BulkheadFullError) for order in ordered)

    lab.check("search answers while orders is slow", took_s < 0.5, f"after {took_s:.1f} s")
    lab.check("who is refused is told so", refused == 8, f"{refused} of 10 orders refused")


if __name__ == "__main__":
    run_alone(__file__)
