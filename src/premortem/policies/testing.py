"""For tests of code that uses policies: no waiting, what was said, and everything off.

    with virtual_time() as time, captured() as events:
        with pytest.raises(ConnectionError):
            place(order)            # five attempts, and not a moment of waiting
    assert time.slept == [1, 1, 1, 1] and events[0].name == "policy.retry"

`TIME` and the switch are the process's own: blocks may be nested, but not used from two threads at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from premortem import events
from premortem.policies.bypass import SWITCH
from premortem.policies.timing import TIME


class VirtualTime:
    """A time that goes on only when somebody sleeps, by as much, at once; or when a test moves it.

    Begins at the machine's own monotonic time, so that states which were made outside of it read on.
    """

    def __init__(self, *, standing: bool = False) -> None:
        self._standing = standing
        self._now = TIME.monotonic()
        self.slept: list[float] = []
        """Every wait, in seconds, in order."""

    def monotonic(self) -> float:
        """Seconds, as `time.monotonic`."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        if not seconds >= 0:
            raise ValueError(f"advance({seconds}): a monotonic time cannot go back; pass 0 or more seconds")
        self._now += seconds

    def sleep(self, seconds: float) -> None:
        """In place of `time.sleep`."""
        self.slept.append(seconds)
        if not self._standing:
            self.advance(seconds)

    async def sleep_async(self, seconds: float) -> None:
        """In place of `asyncio.sleep`: other tasks have their turn, once."""
        import asyncio  # noqa: PLC0415 - a synchronous test does not need it

        self.sleep(seconds)
        await asyncio.sleep(0)


@contextmanager
def virtual_time() -> Iterator[VirtualTime]:
    """Sleeping moves the clock at once; nothing waits. Several tasks that sleep move it by the sum."""
    with _replaced(VirtualTime()) as time:
        yield time


@contextmanager
def instant() -> Iterator[VirtualTime]:
    """Waits are skipped, and time stands still."""
    with _replaced(VirtualTime(standing=True)) as time:
        yield time


@contextmanager
def _replaced(time: VirtualTime) -> Iterator[VirtualTime]:
    before = TIME.monotonic, TIME.sleep, TIME.sleep_async
    TIME.monotonic, TIME.sleep, TIME.sleep_async = time.monotonic, time.sleep, time.sleep_async
    try:
        yield time
    finally:
        TIME.monotonic, TIME.sleep, TIME.sleep_async = before


@contextmanager
def captured(prefix: str = "policy.") -> Iterator[list[events.Event]]:
    """Every event of the process, from any thread, whose name begins with `prefix`, in order."""
    heard: list[events.Event] = []

    def hear(event: events.Event) -> None:
        if event.name.startswith(prefix):
            heard.append(event)

    unsubscribe = events.subscribe(hear)
    try:
        yield heard
    finally:
        unsubscribe()


@contextmanager
def disabled() -> Iterator[None]:
    """All policies are off: what is decorated, before or within, calls its function directly."""
    SWITCH.turn_off()
    try:
        yield
    finally:
        SWITCH.turn_on()
