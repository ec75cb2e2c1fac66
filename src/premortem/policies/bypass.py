"""The switch that turns every policy off: what is decorated calls its function directly, until it is on again.

It costs a call nothing: the code of decorated functions is exchanged while the switch is off, and put back. Only what
is not a decorated function (a block) has to look at `SWITCH.off`. Meant for tests: one switch for the process.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, cast
from weakref import WeakSet

_ORIGINAL = "_pm_original"


class Switch:
    """`off` says whether policies are off; `decorated` knows every function that has been decorated and still is."""

    __slots__ = ("_kept", "_lock", "decorated", "off", "times_off")

    def __init__(self) -> None:
        self.off = False
        self.times_off = 0
        self.decorated: WeakSet[FunctionType] = WeakSet()
        self._kept: dict[FunctionType, tuple[CodeType, dict[str, Any] | None]] = {}
        self._lock = threading.Lock()

    def note(self, guarded: Callable[..., Any]) -> None:
        """Hear of a decorated function; `functools.update_wrapper` has given it `__wrapped__`."""
        if isinstance(guarded, FunctionType):
            with self._lock:
                self.decorated.add(guarded)
                if self.off and guarded not in self._kept:
                    self._exchange(guarded)

    def turn_off(self) -> None:
        """Off; as often as it is turned off, it has to be turned on."""
        with self._lock:
            self.times_off += 1
            if not self.off:
                self.off = True
                for guarded in list(self.decorated):
                    self._exchange(guarded)

    def turn_on(self) -> None:
        """On again."""
        with self._lock:
            self.times_off -= 1
            if self.times_off == 0:
                self.off = False
                while self._kept:
                    guarded, (code, defaults) = self._kept.popitem()
                    guarded.__code__ = code
                    cast("Any", guarded).__kwdefaults__ = defaults

    def _exchange(self, guarded: FunctionType) -> None:
        # The keyword default first: a call in another thread sees the old code, which does not know it, or both.
        code, defaults = guarded.__code__, guarded.__kwdefaults__
        self._kept[guarded] = (code, defaults)
        guarded.__kwdefaults__ = {**(defaults or {}), _ORIGINAL: vars(guarded)["__wrapped__"]}
        guarded.__code__ = _direct(len(code.co_freevars), _kind_of(guarded))


# A function stays what it is to `inspect`, and Python wants code of the same kind.
_BODIES = {
    "function": ("def", ("return {call}",)),
    "coroutine": ("async def", ("return await {call}",)),
    "generator": ("def", ("return (yield from {call})",)),
    "async generator": (
        "async def",
        ("stream = {call}", "try:", " async for item in stream: yield item", "finally:", " await stream.aclose()"),
    ),
}


def _kind_of(guarded: FunctionType) -> str:
    if inspect.iscoroutinefunction(guarded):
        return "coroutine"
    if inspect.isasyncgenfunction(guarded):
        return "async generator"
    return "generator" if inspect.isgeneratorfunction(guarded) else "function"


def _direct(cells: int, kind: str) -> CodeType:
    """Code that calls the original, with as many cells as the code it replaces: Python asks for the same number."""
    names = ", ".join(f"_pm_cell_{number}" for number in range(cells))
    define, body = _BODIES[kind]
    # `if 0` is left out of the code, and makes the names cells all the same.
    lines = [f"if 0: ({names})", *(line.format(call=f"{_ORIGINAL}(*args, **kwargs)") for line in body)]
    inside = "\n".join(f"  {line}" for line in lines)
    made: dict[str, Any] = {}
    exec(  # noqa: S102 - our own lines
        f"def make({names}):\n {define} direct(*args, {_ORIGINAL}, **kwargs):\n{inside}\n return direct\n", made
    )
    code: CodeType = made["make"](*[None] * cells).__code__
    return code


SWITCH = Switch()
