"""The subject under watch: every call of it is told, timed and, where it raises, remembered as its own."""

from __future__ import annotations

import faulthandler
import functools
import inspect
import signal
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from premortem.events import emit
from premortem.model.prediction import qualified_name
from premortem.ports import Clock


@dataclass
class HangWatch:
    """Ends the process when a call takes longer than `after_s` seconds or all of it `time_s`, and says where it stood.

    A timer of the kernel sends SIGALRM; the handler is C code that needs no interpreter lock (faulthandler), so it
    sees calls that hang inside a driver as well. It writes down the thread that the signal is delivered to (the main
    one, save for rare races), and lets the signal do what it does by default: end the process.
    (`dump_traceback_later` walks over all threads from one of its own, and crashes on those that come and go
    meanwhile.) The warden ends what blocks it.
    """

    stack: Path
    time_s: float
    clock: Clock
    after_s: float | None = None
    _due: dict[object, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._file = self.stack.open("w", encoding="utf-8")
        # A little before the warden, which sees only that the time is over and not where it went.
        self._end = self.clock.monotonic() + self.time_s * 0.95
        faulthandler.register(signal.SIGALRM, file=self._file, all_threads=False, chain=True)
        self._arm()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch one call; several threads may be in one."""
        if self.after_s is None:
            yield
            return
        call = object()
        with self._lock:
            self._due[call] = self.clock.monotonic() + self.after_s
            self._arm()
        try:
            yield
        finally:
            with self._lock:
                del self._due[call]
                self._arm()

    def _arm(self) -> None:
        due = min([self._end, *self._due.values()])
        signal.setitimer(signal.ITIMER_REAL, max(0.001, due - self.clock.monotonic()))


@dataclass
class Blame:
    """Which exceptions came out of the subject: those are its failures, all others are the judge's."""

    _raised: list[BaseException] = field(default_factory=list)

    @contextmanager
    def subject(self) -> Iterator[None]:
        """What is raised in this block is the subject's."""
        try:
            yield
        except BaseException as error:
            self._raised.append(error)
            raise

    def is_subjects(self, error: BaseException) -> bool:
        """Whether `error`, or every part of a group of errors, came out of the subject."""
        if isinstance(error, BaseExceptionGroup):
            return any(error is known for known in self._raised) or all(map(self.is_subjects, error.exceptions))
        return any(error is known for known in self._raised)


def text_of(error: BaseException) -> str:
    """What an exception says; one whose own `__str__` raises says so."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"(no text: its __str__ raised {type(second).__name__})"


def watched(function: Callable[..., Any], watch: HangWatch, blame: Blame) -> Callable[..., Any]:
    """`function` with the same signature, sync or async, whose calls are told as events."""

    @contextmanager
    def told() -> Iterator[None]:
        emit("subject.called")
        try:
            with blame.subject(), watch.call():
                yield
        except BaseException as error:
            emit("subject.raised", what=f"{qualified_name(type(error)).removeprefix('builtins.')}: {text_of(error)}")
            raise
        emit("subject.returned")

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever the subject takes and gives
            with told():
                answer: Awaitable[Any] = function(*args, **kwargs)
                return await answer

        return call_async

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as above
        with told():
            return function(*args, **kwargs)

    return call
