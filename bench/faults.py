"""Measures `premortem.faults` beside its peers in one run, and prints a page of Markdown: `make bench-faults`.

    .venv-bench/bin/python bench/faults.py [--quick] [--only bulk,ping,...] > page.md

How it is measured: client, proxy and server are processes of their own; the load is a C program where a compiler is.
Every round has each proxy once and the direct connection too, each round beginning with another, since the speed of a
machine drifts; a ratio is between two figures of the same round, and what is shown is the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # started by its path: its own modules are `bench.*`

from bench import faults_proxies as measured
from bench.faults_calls import calls
from bench.faults_load import Load
from bench.faults_postgres import postgres
from bench.faults_rounds import Bench, Part, failed, proxies, say
from bench.faults_table import DIRECT

PARTS: dict[str, Callable[[Bench], Part]] = {
    "bulk": measured.bulk,
    "ping": measured.ping,
    "connects": measured.connects,
    "latency": measured.latency,
    "memory": measured.memory,
    "postgres": postgres,
    "calls": calls,
}
ROUNDS, QUICK_ROUNDS, QUICK_SIZE = 11, 3, 0.4
DESCRIPTORS = 8192
GIVE_UP_S = 1200


def who() -> str:
    """Each proxy with what its module says of it."""
    lines = []
    for proxy in proxies():
        version = f" {proxy.version()}" if not proxy.why_not() and proxy.NAME != DIRECT else ""
        said = " ".join((proxy.__doc__ or "").split())
        lines.append(f"- **{proxy.NAME}**{version}: {said}")
    lines.append(
        "- **Toxiproxy** f48fd7f (2026-05-18, built from source, logging errors only): measured in November 2026 "
        "on a machine of the same kind with the same kind of load; its ratios are to the direct connection of that day."
    )
    return "\n".join(lines)


def part(name: str, bench: Bench) -> Part:
    """One section; one that fails says so in its place, and the others are measured."""
    try:
        return PARTS[name](bench)
    except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to this section alone
        return Part(f"## {name.capitalize()}\n\nNot measured: {failed(error)}", [f"- {name}: not measured"])


def page(parts: Sequence[Part], bench: Bench, command: str, took_s: float) -> str:
    """All of it."""
    goals = "\n".join(line for one in parts for line in one.goals)
    sections = "\n\n".join(one.text for one in parts)
    return f"""\
# What the faults cost

Written by `{command}` on {datetime.now(UTC):%Y-%m-%d}: Python {platform.python_version()}, \
{platform.system()} {platform.release().split("-")[0]} {platform.machine()}, {os.cpu_count()} cores, \
{bench.rounds} rounds, {took_s:.0f} s. Load: {bench.load.words}.

Medians of the rounds (least to most). A ratio is to the direct connection within the same round. Machines differ and
drift: trust the ratios of one run.

## Goals

{goals}

{sections}

## Who

{who()}"""


def main() -> None:
    """Measure; the page goes to standard output."""
    parser = argparse.ArgumentParser(description="Measure premortem.faults beside its peers.")
    parser.add_argument("--quick", action="store_true", help="few short rounds: to see whether it works")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS", help=f"some of {','.join(PARTS)}")
    given = parser.parse_args()
    names = given.only.split(",")
    if unknown := set(names) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))}: has to be some of {','.join(PARTS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    signal.signal(signal.SIGALRM, lambda *_: sys.exit(f"nothing more is heard; given up after {GIVE_UP_S} s"))
    signal.alarm(GIVE_UP_S)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        room = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, room), hard))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="premortem-bench-") as scratch:
        folder, rounds = Path(scratch), QUICK_ROUNDS if given.quick else ROUNDS
        bench = Bench(Load(folder), folder, rounds, QUICK_SIZE if given.quick else 1.0)
        parts = [part(name, bench) for name in names]
        say("")
        command = "make bench-faults" if len(sys.argv) == 1 else f"bench/faults.py {' '.join(sys.argv[1:])}"
        print(page(parts, bench, command, time.monotonic() - began))


if __name__ == "__main__":
    main()
