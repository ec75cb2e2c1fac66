"""The log: takes an event with fields, writes one line, and goes on whatever happens to the place it writes to.

Laws: `write` raises nothing but what ends a program, and waits a bounded time. Every line is counted as written, lost
or held back. The first loss is told on standard error and as the event "log.lost"; the first line after it is
"log.recovered", with the count and the reason.
"""

from __future__ import annotations

import atexit
import os
import select
import threading
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from premortem.errors import ConfigurationError
from premortem.events import Value, emit
from premortem.observe.logging.correlation import current
from premortem.observe.logging.line import rendered
from premortem.observe.logging.redaction import Redaction
from premortem.observe.logging.repeats import Counting, Kind, Repeats, Summary
from premortem.observe.logging.sinks import Sink
from premortem.observe.logging.values import Bounds
from premortem.ports import Clock, SystemClock

_LOCK_S = 2.0  # for a thread that is inside; it is bounded by its sink, unless a disk hangs
_NESTED = 100
_WHY = 200
_RECOVERED = "log.recovered"
_STDERR = 2


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the lines since the log was made; `why` is the reason of the last loss."""

    written: int = 0
    lost: int = 0
    held_back: int = 0
    shortened: int = 0
    why: str = ""


@dataclass(slots=True)
class _Outage:
    """Lines that are being lost."""

    since: datetime
    why: str
    lost: int = 0


class JsonLog:
    """Writes lines to `sink`. Thread-safe; after a fork, parent and child go on side by side.

    `service` is part of every line where it is not empty. `repeats=None` holds nothing back.
    """

    def __init__(  # noqa: PLR0913 - as configure()
        self,
        sink: Sink,
        *,
        service: str = "",
        redaction: Redaction | None = None,
        repeats: Repeats | None = Repeats(),  # noqa: B008 - frozen
        bounds: Bounds = Bounds(),  # noqa: B008 - frozen
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(service, str):
            raise ConfigurationError(f"JsonLog.service = {service!r}: has to be a text")
        self.sink = sink
        self._service, self._bounds = service, bounds
        self._redaction = redaction or Redaction()
        self._counting = Counting(repeats) if repeats else None
        self._clock = clock or SystemClock()
        self._exit = ExitStack()
        self._begin()
        _logs.add(self)

    @property
    def counts(self) -> Counts:
        """What became of the lines so far."""
        return self._counts

    @property
    def redaction(self) -> Redaction:
        """What is hidden."""
        return self._redaction

    def write(
        self,
        level: str,
        event: str,
        fields: Mapping[str, object] | None = None,
        *,
        logger: str = "",
        kind: str | None = None,
    ) -> None:
        """Write one line. `kind`: the text by which repeats are known, where `event` already has values in it."""
        try:
            line = None
            event = str(event)  # whoever logs an object means its text
            if self._goes(level, event if kind is None else kind, logger):
                line = self.line(level, event, fields, logger=logger)
            if line is not None:
                self._locked(self._deliver, line)
        except Exception as error:  # noqa: BLE001 - the log never stops the work
            self._lose(error)
        if self._untold:
            self._tell()

    def line(  # noqa: PLR0913 - by keyword only, each with a default
        self,
        level: str,
        event: str,
        fields: Mapping[str, object] | None = None,
        *,
        logger: str = "",
        at: datetime | None = None,
        most_bytes: int = 0,
    ) -> bytes:
        """The line alone, with its line end: for a handler that writes by itself. `at`: when it happened (UTC)."""
        correlation = current()
        head: dict[str, object] = {"time": _stamp(at or self._clock.now()), "level": level, "event": event}
        told = (
            ("logger", logger),
            ("service", self._service),
            ("process", os.getpid()),
            ("correlation", correlation.id),
        )
        head.update((name, value) for name, value in told if value)
        made = rendered(
            head,
            {**correlation.fields, **(fields or {})},
            bounds=self._bounds,
            redaction=self._redaction,
            most_bytes=most_bytes or self.sink.line_bytes,
        )
        if made.shortened:
            self._count(shortened=1)
        return made.line

    def flush(self) -> None:
        """Say now what has been held back so far."""
        try:
            self._locked(self._summed_up)
        except Exception as error:  # noqa: BLE001 - as above
            self._lose(error)
        if self._untold:
            self._tell()

    def flush_at_exit(self) -> None:
        """Flush at the end of a process of `multiprocessing`, too, which ends without the interpreter's farewell."""
        from multiprocessing.util import Finalize  # noqa: PLC0415 - where this is called it is loaded

        Finalize(self, self.flush, exitpriority=0)

    def on_close(self, undo: Callable[[], object]) -> None:
        """Call `undo` when the log is closed."""
        self._exit.callback(undo)

    def close(self) -> None:
        """Say what was held back, undo what was set up, let go of the file. A later line opens it again."""
        self._exit.close()
        self.flush()
        with suppress(OSError):
            self.sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self) -> None:
        """At the start, and in a fork, where the parent's locks may be held and its outage is not ours to tell."""
        self._lock, self._counting_lock = threading.RLock(), threading.RLock()
        self._inside = False
        self._counts = Counts()
        self._outage: _Outage | None = None
        self._untold: deque[tuple[str, dict[str, Value]]] = deque(maxlen=_NESTED)
        self._nested: deque[bytes] = deque(maxlen=_NESTED)
        if self._counting is not None:
            self._counting.close()

    def _goes(self, level: str, kind: str, logger: str) -> bool:
        """Whether the line is written; says on the way what is due of others."""
        if self._counting is None:
            return True
        return bool(self._locked(self._decided, Kind.of(logger, level, kind)))

    def _decided(self, kind: object) -> bool:
        assert self._counting is not None
        assert isinstance(kind, Kind)
        decision = self._counting.decide(kind, self._clock.monotonic(), self._clock.now())
        for summary in decision.due:
            self._deliver(self._summary(summary))
        if not decision.write:
            self._count(held_back=1)
        return decision.write

    def _summed_up(self, *_: object) -> None:
        for summary in self._counting.close() if self._counting is not None else ():
            self._deliver(self._summary(summary))

    def _summary(self, summary: Summary) -> bytes:
        kind = summary.kind
        fields = {
            "of": kind.event,
            "held_back": summary.held_back,
            "since": _stamp(summary.since),
            "until": _stamp(summary.until),
        }
        return self.line(kind.level, "log.repeated", fields, logger=kind.logger)

    def _locked(self, call: Callable[..., object], *args: object) -> object:
        if not self._lock.acquire(timeout=_LOCK_S):
            raise TimeoutError(f"{self.sink.name}: another thread has been writing for {_LOCK_S:g} s")
        try:
            return call(*args)
        finally:
            self._lock.release()

    def _deliver(self, line: object) -> None:
        """Write it, under the lock. A line that a signal handler logs in the middle of another comes after it."""
        assert isinstance(line, bytes)
        self._nested.append(line)
        if self._inside:
            return
        self._inside = True
        try:
            while self._nested:
                self._put(self._nested.popleft())
        finally:
            self._inside = False

    def _put(self, line: bytes) -> None:
        try:
            if (outage := self._outage) is not None:
                self.sink.write(self._recovery(outage))
                self._outage = None
                told: dict[str, Value] = {"where": self.sink.name, "lost": outage.lost, "why": outage.why}
                self._untold.append((_RECOVERED, told))
            self.sink.write(line)
        except Exception as error:  # noqa: BLE001 - a closed file raises ValueError, a stranger's sink anything
            self._lose(error)
        else:
            self._count(written=1)

    def _recovery(self, outage: _Outage) -> bytes:
        fields = {"lost": outage.lost, "why": outage.why, "since": _stamp(outage.since)}
        return self.line("warning", _RECOVERED, fields, logger="premortem.log")

    def _lose(self, error: Exception) -> None:
        why = self._redaction.text(f"{type(error).__name__}: {error}"[:_WHY])
        if self._outage is None:
            self._outage = _Outage(self._clock.now(), why)
            self._untold.append(("log.lost", {"where": self.sink.name, "why": why}))
        self._outage.lost += 1
        self._count(lost=1, why=why)

    def _count(self, *, written: int = 0, lost: int = 0, held_back: int = 0, shortened: int = 0, why: str = "") -> None:
        with self._counting_lock:
            old = self._counts
            self._counts = Counts(
                old.written + written, old.lost + lost, old.held_back + held_back, old.shortened + shortened,
                why or old.why,
            )  # fmt: skip

    def _tell(self) -> None:
        """Outside of the lock, for whoever listens may log as well."""
        while self._untold:
            try:
                name, fields = self._untold.popleft()
            except IndexError:  # another thread was quicker
                return
            if name != _RECOVERED:
                _say(f"premortem: the log {fields['where']} takes no lines ({fields['why']}); they are counted\n")
            with suppress(Exception):  # a listener's failure is not the work's
                emit(name, **fields)


_logs: weakref.WeakSet[JsonLog] = weakref.WeakSet()


def _in_a_fork() -> None:
    for log in list(_logs):
        log._begin()  # noqa: SLF001 - of this module


def _at_the_end() -> None:
    for log in list(_logs):
        log.flush()


os.register_at_fork(after_in_child=_in_a_fork)
atexit.register(_at_the_end)


def _say(text: str) -> None:
    """On standard error, if it takes it at once."""
    with suppress(OSError, ValueError):
        poll = select.poll()
        poll.register(_STDERR, select.POLLOUT)
        if any(events & select.POLLOUT for _, events in poll.poll(0)):
            os.write(_STDERR, text.encode("utf-8", "backslashreplace"))


def _stamp(moment: datetime) -> str:
    """As RFC 3339 with microseconds, in UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
