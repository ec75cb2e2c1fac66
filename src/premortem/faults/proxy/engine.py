"""The loop of the proxy's process: one thread, one epoll set, and no call in it that waits for anybody.

Level-triggered: who could not finish is told again, so no wake-up can be lost. Edge-triggered was not measurably
faster. What is due (`timers`) is done between two rounds.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from premortem.faults.proxy.timers import Alarm, Do, Timers

IN, OUT = select.EPOLLIN, select.EPOLLOUT
TROUBLE = select.EPOLLHUP | select.EPOLLERR
_ROUND = 64  # events: so many are served before control is looked at again

Ready = Callable[[int], None]


class Engine:
    """`watch` descriptors, `call_at` times, `run` until `stop`."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}
        self._timers = Timers()
        self._alarm: Alarm | None = None
        self._over = False
        self.call_at = self._timers.call_at

    def add(self, fd: int, wanted: int, ready: Ready) -> None:
        """Call `ready` with what `fd` is ready for, as often as it is."""
        self._ready[fd] = ready
        self._epoll.register(fd, wanted)

    def change(self, fd: int, wanted: int) -> None:
        """Be interested in something else."""
        self._epoll.modify(fd, wanted)

    def remove(self, fd: int) -> None:
        """Lose interest, while the descriptor stays open."""
        del self._ready[fd]
        self._epoll.unregister(fd)

    def forget(self, fd: int) -> None:
        """Lose interest, just before the descriptor is closed: the kernel then does the rest.

        What is told of it in this round may reach the next one with its number: nobody believes without trying.
        """
        del self._ready[fd]

    def stop(self) -> None:
        """Come back from `run` after this round."""
        self._over = True

    def run(self) -> None:
        """Until `stop`."""
        poll, handlers, timers = self._epoll.poll, self._ready, self._timers
        while not self._over:
            if not timers.used:
                events = poll(-1, _ROUND)
            else:
                if self._alarm is None:
                    self._set_alarm()
                timers.run()
                events = poll(-1 if timers.sleep() else 0, _ROUND)
            for fd, event in events:
                ready = handlers.get(fd)
                if ready is not None:  # else closed by one before it in this round
                    ready(event)

    def _set_alarm(self) -> None:
        self._alarm = alarm = Alarm()
        self._timers.wake_by(alarm)
        self.add(alarm.fd, IN, lambda _event: (os.read(alarm.fd, 8), None)[1])


__all__ = ["IN", "OUT", "TROUBLE", "Do", "Engine", "Ready"]
