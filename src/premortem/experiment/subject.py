"""The subject under watch: every call of it is told, timed and, where it raises, remembered as its own."""

from __future__ import annotations

import faulthandler
import functools
import inspect
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
    """Writes down where the process stands when its time is nearly up, or when a call takes too long.

    The watch is a thread of C code that needs no interpreter lock (faulthandler), so it sees calls that hang
    inside a driver as well. A call that takes longer than `after_s` seconds is ended there and then, with the
    whole process; everything else is ended by the warden, after `time_s`.
    """

    stack: Path
    time_s: float
    clock: Clock
    after_s: float | None = None

    def __post_init__(self) -> None:
        self._file = self.stack.open("w", encoding="utf-8")
        self._nearly_up = self.clock.monotonic() + self.time_s * 0.9
        self._watch_all()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch one call."""
        if self.after_s is None:
            yield
            return
        faulthandler.dump_traceback_later(self.after_s, exit=True, file=self._file)
        try:
            yield
        finally:
            self._watch_all()

    def _watch_all(self) -> None:
        left_s = max(0.001, self._nearly_up - self.clock.monotonic())
        faulthandler.dump_traceback_later(left_s, file=self._file)


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
