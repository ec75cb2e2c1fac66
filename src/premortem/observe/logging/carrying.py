"""The correlation carried to where a context variable does not go by itself: thread pools and other processes.

with CarryingThreadPool(4) as pool: pool.map(load, chunks)                 # threads
with ProcessPoolExecutor() as pool: pool.map(carried(load), chunks)        # processes, call by call
ProcessPoolExecutor(initializer=adopt, initargs=(handed_over(),))          # processes, once for all
subprocess.run(command, env=environment())                                 # any program
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import update_wrapper
from typing import Generic, ParamSpec, TypeVar

from premortem.observe.logging.correlation import Correlation, become, correlated, current

P = ParamSpec("P")
T = TypeVar("T")


class carried(Generic[P, T]):  # noqa: N801 - used as a function: pool.submit(carried(load), chunk)
    """`function`, to be called elsewhere as if it were called here.

    In a thread it finds all context variables as they are now (a deadline and the listeners to events as well); in
    another process, to which it is pickled, the correlation. Can be called from several threads at once.
    """

    def __init__(self, function: Callable[P, T]) -> None:
        self._function = function
        self._context = contextvars.copy_context()
        self._correlation = current()
        update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call it in a context of its own, which begins as the one that was carried."""
        return self._context.copy().run(self._function, *args, **kwargs)

    def __reduce__(self) -> tuple[type[_Sent[P, T]], tuple[Callable[P, T], Correlation]]:
        return _Sent, (self._function, self._correlation)


class _Sent(Generic[P, T]):
    """`carried`, as it arrives in another process."""

    def __init__(self, function: Callable[P, T], correlation: Correlation) -> None:
        self._function, self._correlation = function, correlation

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        return contextvars.copy_context().run(self._within, *args, **kwargs)

    def _within(self, *args: P.args, **kwargs: P.kwargs) -> T:
        become(self._correlation)
        return self._function(*args, **kwargs)


class CarryingThreadPool(ThreadPoolExecutor):
    """A ThreadPoolExecutor whose tasks belong to the correlation that was open where they were submitted.

    Also what asyncio's run_in_executor needs: `loop.set_default_executor(CarryingThreadPool())`.
    """

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """As `ThreadPoolExecutor.submit`."""
        return super().submit(carried(fn), *args, **kwargs)


def handed_over() -> Correlation:
    """What `adopt` takes in another process; the fields have to be picklable."""
    return current()


def adopt(correlation: Correlation) -> None:
    """Belong to what another process has handed over: the initialiser of a pool of processes."""
    become(correlation)


__all__ = ["CarryingThreadPool", "adopt", "carried", "correlated", "handed_over"]
