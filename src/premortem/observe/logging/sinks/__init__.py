"""Where lines go: one line is written whole or not at all, in a bounded time, or OSError says why not."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Sink(Protocol):
    """A place for lines. Called by one thread at a time; `line_bytes` is the longest line that it takes whole."""

    name: str
    line_bytes: int

    def write(self, line: bytes) -> None:
        """Write one line, which ends in a line end. OSError where it cannot: then nothing of it is there."""
        ...

    def close(self) -> None:
        """Let go of it; a later write opens it again. Can be called again."""
        ...
