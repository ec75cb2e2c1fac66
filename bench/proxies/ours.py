"""`FaultProxy(("127.0.0.1", port))`, used from Python; a process with one thread. Without a fault unless said."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.faults_processes import children
from bench.proxies import At, Running

import premortem
from premortem.faults.proxy import FaultProxy

NAME = "premortem"
LATENCY = True


def why_not() -> str:
    """It is part of this checkout."""
    return ""


def version() -> str:
    """The package's."""
    return premortem.__version__


@contextmanager
def start(at: At) -> Iterator[Running]:
    """A host of its own."""
    before = children()
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(("127.0.0.1", at.upstream)))
        if at.delay_s:
            stack.enter_context(proxy.latency(at.delay_s, direction="down"))
        if at.armed:
            stack.enter_context(proxy.at(at.armed))
        yield Running(proxy.port, tuple(children() - before))
