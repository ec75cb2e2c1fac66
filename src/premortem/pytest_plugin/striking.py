"""Fixtures that strike: a fault proxy, and what struck in this test, with the recipe that makes it happen again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from premortem import events
from premortem.errors import ConfigurationError
from premortem.events import Event

if TYPE_CHECKING:
    from premortem.faults.proxy import FaultProxy

SEED = pytest.StashKey[int]()
STRUCK = pytest.StashKey[list[str]]()
_PORTS = {"postgresql": 5432, "postgres": 5432, "redis": 6379, "valkey": 6379, "http": 80}


@pytest.fixture(scope="session")
def premortem_seed(pytestconfig: pytest.Config) -> int:
    """The seed of this session: `--premortem-seed`, else drawn once, the same for all workers of xdist."""
    return pytestconfig.stash[SEED]


@pytest.fixture
def strikes(request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """What the injectors said that they hit in this test, in order. A test that fails prints it."""
    struck: list[str] = []
    request.node.stash[STRUCK] = struck

    def hear(event: Event) -> None:
        if event.name == "fault.struck":
            struck.append(f"{event.get('fault')}: {event.get('what')}")

    unsubscribe = events.subscribe(hear)  # of the process: a proxy tells its strikes from a thread
    yield struck
    unsubscribe()


@pytest.fixture
def fault_proxy(
    strikes: list[str],  # noqa: ARG001 - asked for so that a failing test tells what the proxy struck
    premortem_seed: int,
) -> Iterator[Callable[[str | tuple[str, int]], FaultProxy]]:
    """A function that puts a fault proxy in front of a server on loopback, given by URL or (host, port).

    `proxy = fault_proxy("postgresql://...")`; `proxy.port` is where to connect to; it is closed after the test.
    """
    from premortem.faults.proxy import FaultProxy  # noqa: PLC0415 - brought in by the test that asks for it

    with ExitStack() as stack:
        yield lambda target: stack.enter_context(FaultProxy(_address(target), seed=premortem_seed))


def _address(target: str | tuple[str, int]) -> tuple[str, int]:
    """Host and port of a URL."""
    if isinstance(target, tuple):
        return target
    parts = urlsplit(target)
    port = parts.port or _PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        raise ConfigurationError(
            f"fault_proxy({target!r}): has to be a URL with a host and a port, or (host, port); "
            'write fault_proxy("postgresql://127.0.0.1:5432/shop")'
        )
    return parts.hostname, port
