"""A probe that goes on asking at a fixed interval, in a thread or a task, from before a fault until after it.

    with Probe(lambda: connection_works(url), every_s=0.02) as probe:
        probe.wait_for_health(within_s=5)
        with processes.frozen(pid, "the database"):       # its strike and its end are heard and marked
            ...
        probe.wait_for_health(within_s=10)
    probe.recovery().within(2).check(lab.check)

An answer counts as good unless it raises, or is False. One question at a time: while one hangs, none is asked, and
one that hangs still when the probe ends is a bad one. Give the question a time limit of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from typing import Self

from premortem.errors import ConfigurationError
from premortem.events import Event, subscribe
from premortem.experiment.recovery import STEADY, Recovery, Sample
from premortem.ports import Clock, SystemClock

_JOIN_S = 1.0
_SAID_CHARACTERS = 200


class Watch:
    """What a probe has seen, and when the fault went in and out. Safe to use from many threads."""

    def __init__(self, *, every_s: float, clock: Clock | None) -> None:
        if not 0 < every_s <= 3600:  # noqa: PLR2004 - said in words
            raise ConfigurationError(f"every_s={every_s!r}: has to be above 0 and up to 3600 seconds; write 0.05")
        self.every_s = every_s
        self._clock = clock or SystemClock()
        self._changed = threading.Condition()
        self._samples: list[Sample] = []
        self._asked_s: float | None = None
        self._struck_s: float | None = None
        self._removed_s: float | None = None
        self._unsubscribe: Callable[[], None] = lambda: None

    def struck(self) -> None:
        """Mark the fault: for one that does not tell by itself. The first mark counts."""
        with self._changed:
            self._struck_s = self._clock.monotonic() if self._struck_s is None else self._struck_s
            self._removed_s = None

    def removed(self) -> None:
        """Mark that the fault is out: "the server is started again". The last mark counts."""
        with self._changed:
            self._removed_s = self._clock.monotonic()

    def recovery(self) -> Recovery:
        """What there is so far. ConfigurationError where no fault was marked."""
        with self._changed:
            if self._struck_s is None:
                raise ConfigurationError(
                    "recovery(): no fault struck while the probe ran; start it before the fault, or mark it by struck()"
                )
            return Recovery(tuple(self._samples), self._struck_s, self._removed_s)

    def is_healthy(self) -> bool:
        """Whether the last probes were good, enough of them since the last mark."""
        with self._changed:
            since = max(self._struck_s or 0.0, self._removed_s or 0.0)
            last = [one.ok for one in self._samples[-STEADY:] if one.began_s >= since]
            return len(last) == STEADY and all(last)

    def hear(self, event: Event) -> None:
        """Mark what injectors tell."""
        if event.name == "fault.struck":
            self.struck()
        elif event.name == "fault.lifted":
            self.removed()

    def begin(self) -> None:
        """A question is about to be asked."""
        self._asked_s = self._clock.monotonic()

    def end(self, answer: object = None, error: BaseException | None = None) -> None:
        """It was answered, or not."""
        began, now = self._asked_s, self._clock.monotonic()
        self._asked_s = None
        if began is None:
            return
        said = f"{type(error).__name__}: {error}" if error else "answered False" if answer is False else ""
        with self._changed:
            self._samples.append(Sample(began, now, not said, said[:_SAID_CHARACTERS]))
            self._changed.notify_all()

    def start_listening(self) -> None:
        """From now on strikes are marked, from whatever thread they come."""
        self._unsubscribe = subscribe(self.hear)

    def stop_listening(self) -> None:
        """What is still under way has not come back in time."""
        self._unsubscribe()
        if self._asked_s is not None:
            self.end(error=TimeoutError("had not come back when the probe ended"))


class Probe(Watch):
    """Asks in a thread of its own."""

    def __init__(self, ask: Callable[[], object], *, every_s: float = 0.05, clock: Clock | None = None) -> None:
        super().__init__(every_s=every_s, clock=clock)
        self._ask = ask
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="premortem-probe", daemon=True)

    def __enter__(self) -> Self:
        self.start_listening()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(_JOIN_S)
        self.stop_listening()

    def wait_for_health(self, *, within_s: float) -> bool:
        """Wait until it is healthy, at most so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(self.is_healthy, within_s)

    def wait_for_failure(self, *, within_s: float) -> bool:
        """Wait until a probe has failed since the fault was marked, at most so long; whether one has."""
        with self._changed:
            return self._changed.wait_for(self._has_failed, within_s)

    def _has_failed(self) -> bool:
        return self._struck_s is not None and not all(one.ok for one in self._samples if one.ended_s > self._struck_s)

    def _go_on(self) -> None:
        while not self._over.is_set():
            self.begin()
            try:
                answer = self._ask()
            except BaseException as error:  # noqa: BLE001 - whatever the question raises is the answer
                self.end(error=error)
            else:
                self.end(answer)
            self._over.wait(self.every_s)


class AsyncProbe(Watch):
    """Asks in a task of the loop that it is entered in; so it stands still where the subject blocks the loop."""

    def __init__(
        self, ask: Callable[[], Awaitable[object]], *, every_s: float = 0.05, clock: Clock | None = None
    ) -> None:
        super().__init__(every_s=every_s, clock=clock)
        self._ask = ask
        self._answered = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self.start_listening()
        self._task = asyncio.create_task(self._go_on(), name="premortem-probe")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task
        self._task.cancel()
        await asyncio.wait([self._task])
        self.stop_listening()

    async def wait_for_health(self, *, within_s: float) -> bool:
        """As `Probe.wait_for_health`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self.is_healthy():
                    self._answered.clear()
                    await self._answered.wait()
        return self.is_healthy()

    async def _go_on(self) -> None:
        while True:
            self.begin()
            try:
                answer = await self._ask()
            except Exception as error:  # noqa: BLE001 - as above; the end of the task goes through
                self.end(error=error)
            else:
                self.end(answer)
            self._answered.set()
            await asyncio.sleep(self.every_s)
