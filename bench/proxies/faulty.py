"""Its class `FaultyProxy` in a process of its own, without the dashboard of its command line. asyncio streams."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.faults_processes import free_port, running, wait_for
from bench.proxies import At, Running

NAME = "faulty"
LATENCY = True
PROGRAM = """
import asyncio, sys
from faulty.core.proxy import FaultyProxy
from faulty.middlewares import LatencyMiddleware
port, upstream, delay_ms = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
proxy = FaultyProxy("127.0.0.1", port, "127.0.0.1", upstream)
if delay_ms:
    proxy.add_ingress_rule(LatencyMiddleware(delay_ms))
asyncio.run(proxy.start())
"""


def why_not() -> str:
    """It comes with the group `bench`."""
    return "" if importlib.util.find_spec("faulty") else "not installed: pip install faulty==0.2.1"


def version() -> str:
    """The distribution's."""
    return importlib.metadata.version("faulty")


@contextmanager
def start(at: At) -> Iterator[Running]:
    """One process."""
    port, log = free_port(), at.folder / "faulty.log"
    command = [sys.executable, "-c", PROGRAM, str(port), str(at.upstream), str(at.delay_s * 1000)]
    with running(command, log) as process:
        wait_for(port, process, log)
        yield Running(port, (process.pid,))
