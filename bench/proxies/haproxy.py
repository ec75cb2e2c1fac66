"""`mode tcp`, buffers and threads as they come (16 KB, one thread a processor). Relays, and has no faults."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.faults_processes import find, first_line, free_port, missing, running, wait_for
from bench.proxies import At, Running

NAME = "haproxy"
LATENCY = False
SETTINGS = """
global
    maxconn 4000
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} backlog 1024
    server upstream 127.0.0.1:{upstream}
"""


def why_not() -> str:
    """The package to install."""
    return missing("haproxy", "haproxy")


def version() -> str:
    """From its banner."""
    return first_line(find("haproxy"), "-v").split()[2]


@contextmanager
def start(at: At) -> Iterator[Running]:
    """One process in the foreground."""
    port, log = free_port(), at.folder / "haproxy.log"
    settings = at.folder / f"haproxy-{port}.cfg"
    settings.write_text(SETTINGS.format(port=port, upstream=at.upstream))
    with running([find("haproxy"), "-db", "-f", settings], log) as process:
        wait_for(port, process, log)
        yield Running(port, (process.pid,))
