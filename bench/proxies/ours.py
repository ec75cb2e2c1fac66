"""`FaultProxy(("127.0.0.1", port))`, used from Python; no fault armed, but for the latency. One process, one thread."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from bench.faults_processes import children
from bench.proxies import At, Running

import premortem

NAME = "premortem"
LATENCY = True


def why_not() -> str:
    """Where this checkout has no proxy."""
    try:
        importlib.import_module("premortem.faults.proxy").FaultProxy  # noqa: B018 - it is there, or it is not
    except (ImportError, AttributeError) as error:
        return f"not there: {error}"
    return ""


def version() -> str:
    """The package's."""
    return premortem.__version__


@contextmanager
def start(at: At) -> Iterator[Running]:
    """A host of its own."""
    from premortem.faults.proxy import FaultProxy  # noqa: PLC0415 - after `why_not`

    before = children()
    with ExitStack() as stack:
        proxy = stack.enter_context(FaultProxy(("127.0.0.1", at.upstream)))
        if at.delay_s:
            stack.enter_context(proxy.latency(at.delay_s, direction="down"))
        if at.armed:
            stack.enter_context(proxy.at(at.armed))
        yield Running(proxy.port, tuple(children() - before))
