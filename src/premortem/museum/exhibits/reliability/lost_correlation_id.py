"""The run's id is gone where it was needed: in the thread that failed.

Cause:       The id lives in a context variable, and a thread pool's threads have a context of their own.
Effect:      The lines of a run are found by its id, all but those of the work itself; the one failure of the night is
             in the log, and nobody can tell whose it was.
Fix:         Each task is run in a copy of the context that it was submitted in.
Prevention:  premortem.observe.logging: CarryingThreadPool, `carried` for processes; fail a task in a test, and look.
"""

import contextvars
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from premortem.errors import Violated
from premortem.experiment import run_alone

PREDICTION = Violated("the failure is found by its run")
RUN = contextvars.ContextVar("run", default="")


def fetch(url, log):
    """Get one article; log how it went."""
    try:
        with urllib.request.urlopen(url) as answer:
            answer.read()
        log.append({"run": RUN.get(), "level": "info", "url": url})
    except urllib.error.HTTPError as error:
        log.append({"run": RUN.get(), "level": "error", "url": url, "why": str(error)})
        error.close()


def broken(run, urls, log):
    """Get the articles of a run, four at a time."""
    RUN.set(run)
    with ThreadPoolExecutor(4) as pool:
        for url in urls:
            pool.submit(fetch, url, log)


def fixed(run, urls, log):
    """Get the articles of a run, four at a time, each in the run's context."""
    RUN.set(run)
    with ThreadPoolExecutor(4) as pool:
        for url in urls:
            pool.submit(contextvars.copy_context().run, fetch, url, log)


def scenario(collect, lab):
    """Monday's run goes well; on Tuesday the shop fails for one article of twelve."""
    server, log = lab.web_server(), []
    urls = [f"{server.url}/articles/{number}" for number in range(12)]
    collect("monday", urls, log)
    lab.check("all is well on Monday", [line["level"] for line in log] == ["info"] * 12)

    with server.failing(500, "/articles/7"):
        collect("tuesday", urls, log)
    failures = [line for line in log if line["level"] == "error"]
    lab.check("the failure is in the log", [line["url"] for line in failures] == [urls[7]], f"{failures}")
    lab.check("the failure is found by its run", failures[0]["run"] == "tuesday", f"run={failures[0]['run']!r}")
    ours = sum(line["run"] == "tuesday" for line in log)
    lab.check("so are the others", ours == 12, f"{ours} of 12 lines")


if __name__ == "__main__":
    run_alone(__file__)
