"""Faults of the environment: a variable that is missing, or holds something else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from premortem.errors import FaultError
from premortem.faults.strike import lifted, struck


@contextmanager
def unset(name: str) -> Iterator[None]:
    """The variable is not there."""
    if name not in os.environ:
        raise FaultError(f"{name}: is not set, so it cannot go missing; set it before the fault is put in")
    before = os.environ.pop(name)
    try:
        struck("variable unset", f"{name} is gone from the environment")
        yield
    finally:
        os.environ[name] = before
        lifted("variable unset", name)


@contextmanager
def changed(name: str, value: str) -> Iterator[None]:
    """The variable holds `value`."""
    before = os.environ.get(name)
    if before == value:
        raise FaultError(f"{name}: is {value!r} already, so nothing would change; name another value")
    os.environ[name] = value
    try:
        struck("variable changed", f"{name} is {value!r}")
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
        lifted("variable changed", name)
