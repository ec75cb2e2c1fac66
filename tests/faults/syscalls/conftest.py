"""Whether this machine lets us intercept; a server of each kind, one for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from premortem.faults import syscalls
from premortem.servers import Servers


@pytest.fixture(autouse=True)
def _interceptable() -> None:
    if reason := syscalls.why_not():
        pytest.skip(f"system calls cannot be intercepted here: {reason}")


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with Servers() as started:
        yield started
