"""No proxy: client and server with loopback between them; what all ratios are to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bench.proxies import At, Running

NAME = "direct"
LATENCY = False


def why_not() -> str:
    """It is always there."""
    return ""


def version() -> str:
    """It has none."""
    return ""


@contextmanager
def start(at: At) -> Iterator[Running]:
    """The server itself."""
    yield Running(at.upstream)
