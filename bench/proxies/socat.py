"""`TCP-LISTEN:...,fork`, a process a connection, buffers as they come (8 KB). Relays, and has no faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.faults_processes import find, first_line, free_port, missing, running, wait_for
from bench.proxies import At, Running

NAME = "socat"
LATENCY = False


def why_not() -> str:
    """The package to install."""
    return missing("socat", "socat")


def version() -> str:
    """From its banner."""
    said = first_line("sh", "-c", f"{find('socat')} -V | sed -n 's/socat version //p'")
    return said.split()[0]


@contextmanager
def start(at: At) -> Iterator[Running]:
    """One process, and one more for each connection."""
    port, log = free_port(), at.folder / "socat.log"
    listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr,backlog=1024"
    with running([find("socat"), listen, f"TCP:127.0.0.1:{at.upstream}"], log) as process:
        wait_for(port, process, log)
        yield Running(port, (process.pid,))
