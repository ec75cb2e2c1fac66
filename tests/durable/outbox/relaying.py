"""A relay in a process of its own, to be killed: publishes to the file that is named, one line a message.

python relaying.py URL FILE [run|drain]
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence

from premortem.durable.outbox import Message, Pace, Relay


class ToFile:
    """A broker that keeps what it is given, in order, whoever dies."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def __call__(self, batch: Sequence[Message]) -> None:
        for message in batch:  # one at a time, so that a batch can be cut in two
            os.write(self._file, f"{message.key} {message.id}\n".encode())
            await asyncio.sleep(0)


if __name__ == "__main__":
    place, file = sys.argv[1:]
    asyncio.run(Relay(place, ToFile(file), poll_s=0.002, pace=Pace(batch=20, turn_s=0.05)).run())
