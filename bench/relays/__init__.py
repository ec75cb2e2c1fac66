"""The relays that `make bench-outbox` measures: one file each, and the module is the plugin.

A module has `NAME`, `SETTINGS` (by name, the library's default among them), `why_not()` (empty, or what to do that it
can be measured), `version()`, `fill(url, count)`, and `drain(url, setting, sink, count)`: the seconds that it takes
until the sink has had so many messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

PAYLOAD = b"x" * 300
KEYS = 1000


class Sink(Protocol):
    """Where messages go: one at a time or many, as the relay gives them."""

    count: int

    async def one(self, payload: bytes) -> None:
        """A message."""

    async def many(self, messages: Sequence[Any]) -> None:
        """Messages of ours."""


class Relay(Protocol):
    """What a module here is."""

    NAME: str
    SETTINGS: Mapping[str, Mapping[str, Any]]

    def why_not(self) -> str:
        """Empty, or what to do that it can be measured."""

    def version(self) -> str:
        """The distribution's."""

    async def fill(self, url: str, count: int) -> None:
        """Make the tables, if need be, and write so many messages."""

    async def drain(self, url: str, setting: str, sink: Sink, count: int) -> float:
        """Bring so many messages to the sink: seconds."""
