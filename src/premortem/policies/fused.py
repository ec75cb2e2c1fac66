"""The same chain in one frame: generated source for the layers that most policies are made of.

`chain.py` is the reference: one closure a layer, each with `*args, **kwargs`. Here the layers' few lines are written
into one function with the guarded function's own signature, which saves the frames and the packing of arguments: two
thirds of what a policy costs. `try` costs nothing until something is raised (since Python 3.11), and a layer that is
not there is not skipped, but absent. Both pass the same tests.

A layer is fused by what it is called: `_EMITTERS` names the layer classes that have lines of their own; every other
Admission gets the general ones; a Wrapping without lines of its own ends the frame, and what stands inside of it is a
frame of its own. The source of a fused function is in `function.__premortem_source__`, and in tracebacks.
"""

from __future__ import annotations

import inspect
import linecache
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from premortem.policies import chain
from premortem.policies.ambient import get_until
from premortem.policies.layer import Admission, AsyncCall, Call, Layer
from premortem.policies.retry import GIVEN_UP
from premortem.policies.timing import TIME

Lines = list[str]
_STARS: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_INDENT = "    "


def around(layers: Sequence[Layer], function: Call) -> Call:
    """As `chain.around`."""
    return _around(layers, function, asynchronous=False)


def around_async(layers: Sequence[Layer], function: AsyncCall) -> AsyncCall:
    """As `chain.around_async`."""
    return _around(layers, function, asynchronous=True)


def _around(layers: Sequence[Layer], function: Call, *, asynchronous: bool) -> Call:
    """Fuse from the inside out, frame by frame."""
    frame: list[Layer] = []
    for layer in reversed(layers):
        if _emitter(layer, asynchronous=asynchronous) is not None:
            frame.insert(0, layer)
            continue
        function = _fuse(frame, function, asynchronous=asynchronous)
        frame = []
        one = chain.around_async if asynchronous else chain.around
        function = one([layer], function)
    return _fuse(frame, function, asynchronous=asynchronous)


def _fuse(layers: Sequence[Layer], function: Call, *, asynchronous: bool) -> Call:
    if not layers:
        return function
    frame = _Frame(asynchronous=asynchronous, environment={"_pm_function": function})
    parameters, arguments = _signature(function, frame)
    lines = _emit(list(layers), frame, f"_pm_result = {frame.wait}_pm_function({arguments})")
    names = ", ".join(frame.environment)
    define = "async def" if asynchronous else "def"
    body = [f"{define} _pm_fused({parameters}):", *_indented([*lines, "return _pm_result"])]
    source = "\n".join([f"def _pm_make({names}):", *_indented([*body, "return _pm_fused"])]) + "\n"
    made: dict[str, Any] = {}
    exec(_compiled(source), made)  # noqa: S102 - our own lines; the only names from outside are those of parameters
    fused: Call = made["_pm_make"](**frame.environment)
    fused.__premortem_source__ = source  # type: ignore[attr-defined]
    return fused


@lru_cache(maxsize=512)
def _compiled(source: str) -> CodeType:
    """Code objects by their source: functions of one shape share one, so decorating costs little."""
    name = f"<premortem policy {abs(hash(source)):x}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    return compile(source, name, "exec")


@dataclass
class _Frame:
    """One function in the making: whether it waits, and what it will know by name."""

    asynchronous: bool
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def wait(self) -> str:
        """`await` where the frame is a coroutine's."""
        return "await " if self.asynchronous else ""

    def knows(self, name: str, value: object) -> str:
        """Give `value` a name in the frame."""
        unique = f"_pm_{name}_{len(self.environment)}"
        self.environment[unique] = value
        return unique


def _signature(function: Call, frame: _Frame) -> tuple[str, str]:
    """Parameters as they are written, and the arguments that pass them on; `*args, **kwargs` where they are unknown."""
    everything = "*_pm_args, **_pm_kwargs"
    if not isinstance(function, FunctionType):
        return everything, everything
    parameters, arguments = [], []
    shown = list(inspect.signature(function, follow_wrapped=False).parameters.values())
    if any(parameter.name.startswith("_pm_") for parameter in shown):
        return everything, everything
    for place, parameter in enumerate(shown):
        default = ""
        if parameter.default is not parameter.empty:
            default = f"={frame.knows('default', parameter.default)}"
        if parameter.kind is parameter.KEYWORD_ONLY and _first_keyword(shown, place):
            parameters.append("*")
        star = _STARS.get(parameter.kind, "")
        parameters.append(f"{star}{parameter.name}{default}")
        if parameter.kind is parameter.POSITIONAL_ONLY and _last_positional_only(shown, place):
            parameters.append("/")
        keyword = f"{parameter.name}=" if parameter.kind is parameter.KEYWORD_ONLY else ""
        arguments.append(f"{star or keyword}{parameter.name}")
    return ", ".join(parameters), ", ".join(arguments)


def _first_keyword(shown: list[inspect.Parameter], place: int) -> bool:
    """Whether a bare `*` has to stand before this keyword-only parameter."""
    before = [parameter.kind for parameter in shown[:place]]
    return not {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL} & set(before)


def _last_positional_only(shown: list[inspect.Parameter], place: int) -> bool:
    following = shown[place + 1 : place + 2]
    return not following or following[0].kind is not inspect.Parameter.POSITIONAL_ONLY


def _emit(layers: list[Layer], frame: _Frame, call: str) -> Lines:
    """The lines of `layers`, the first outermost, around `call`."""
    if not layers:
        return [call]
    emitter = _emitter(layers[0], asynchronous=frame.asynchronous)
    assert emitter is not None
    inner = _emit(layers[1:], frame, call)
    return list(emitter(layers[0], frame, inner))


def _indented(lines: Sequence[str]) -> Lines:
    return [_INDENT + line for line in lines]


Emitter = Callable[[Any, _Frame, Lines], Iterator[str]]


def _retry(layer: Any, frame: _Frame, inner: Lines) -> Iterator[str]:
    on = frame.knows("on", layer.on)
    make, decide = frame.knows("Story", layer.story), frame.knows("after_error", layer.after_error)
    tell, clock = frame.knows("tell", layer.tell), frame.knows("time", TIME)
    story, wait_s, error = f"{on}_story", f"{on}_wait", f"{on}_error"
    sleep = "sleep_async" if frame.asynchronous else "sleep"
    if layer.deposit is not None:
        yield f"{frame.knows('deposit', layer.deposit)}()"
    given_up, begun = frame.knows("given_up", GIVEN_UP), f"{on}_begun"
    yield f"{begun} = {given_up}.so_far"
    yield f"{story} = None"
    yield "while True:"
    yield "    try:"
    yield from _indented(_indented(inner))
    yield f"    except {on} as {error}:"
    yield f"        if {story} is None:"
    yield f"            {story} = {make}({begun})"
    yield f"        {wait_s} = {decide}({story}, {error})"
    yield f"        if {wait_s} is None:"
    yield f"            {tell}({story}, {error})"
    yield "            raise"
    if layer.if_result is None:
        yield "    else:"
        yield "        break"
    else:
        dislikes, judge = frame.knows("if_result", layer.if_result), frame.knows("after_result", layer.after_result)
        yield "    else:"
        yield f"        if not {dislikes}(_pm_result):"
        yield "            break"
        yield f"        if {story} is None:"
        yield f"            {story} = {make}({begun})"
        yield f"        {wait_s} = {judge}({story}, _pm_result)"
        yield f"        if {wait_s} is None:"
        yield "            break"
    yield f"    if {wait_s}:"
    yield f"        {frame.wait}{clock}.{sleep}({wait_s})"


def _admission(layer: Admission, frame: _Frame, inner: Lines) -> Iterator[str]:
    enter = frame.knows("enter", layer.enter_async if frame.asynchronous else layer.enter)
    leave = frame.knows("leave", layer.leave)
    permit, error = f"{enter}_permit", f"{enter}_error"
    yield f"{permit} = {frame.wait}{enter}()"
    yield "try:"
    yield from _indented(inner)
    yield f"except BaseException as {error}:"
    yield f"    {leave}({permit}, {error})"
    yield "    raise"
    yield f"{leave}({permit}, None)"


def _circuit_breaker(layer: Any, frame: _Frame, inner: Lines) -> Iterator[str]:
    """While it is closed: one attribute read before the call and one after it."""
    if layer.shared and frame.asynchronous:
        yield from _admission(layer, frame, inner)
        return
    breaker, leave = frame.knows("breaker", layer), frame.knows("leave", layer.leave)
    permit, error = f"{breaker}_permit", f"{breaker}_error"
    yield f"{permit} = {breaker}.ticket"
    yield f"if {permit} is None:"
    yield f"    {permit} = {breaker}.admit()"
    yield "try:"
    yield from _indented(inner)
    yield f"except BaseException as {error}:"
    yield f"    {leave}({permit}, {error})"
    yield "    raise"
    yield f"if {permit} is not {breaker}.ticket:"
    yield f"    {breaker}.succeeded({permit})"
    if layer.on_success is not None:
        yield "else:"
        yield f"    {frame.knows('on_success', layer.on_success)}()"


def _bulkhead(layer: Any, frame: _Frame, inner: Lines) -> Iterator[str]:
    """A permit is a deque's pop; the long way is taken when there is none, or somebody waits for ours."""
    take, give = frame.knows("take", layer.take), frame.knows("give", layer.give)
    waiters, wake = frame.knows("waiters", layer.waiters), frame.knows("wake", layer.wake)
    full = frame.knows("full", layer.full_async if frame.asynchronous else layer.full)
    yield "try:"
    yield f"    {take}()"
    yield "except IndexError:"
    yield f"    {frame.wait}{full}()"
    yield "try:"
    yield from _indented(inner)
    yield "finally:"
    yield f"    {give}(None)"
    yield f"    if {waiters}:"
    yield f"        {wake}()"


def _rate_limiter(layer: Any, frame: _Frame, inner: Lines) -> Iterator[str]:
    """A token is a deque's pop; the long way is taken when the lease is used up."""
    token, refill = frame.knows("token", layer.token), layer.refill_async if frame.asynchronous else layer.refill
    yield "try:"
    yield f"    {token}()"
    yield "except IndexError:"
    yield f"    {frame.wait}{frame.knows('refill', refill)}()"
    yield from inner


def _timeout(layer: Any, frame: _Frame, inner: Lines) -> Iterator[str]:
    """As `TimeoutLayer.wrap_async`, where it is explained."""
    limit = layer.limit_async()
    name = frame.knows("limit", limit)
    known = {
        "get_loop": limit.get_loop,
        "task_of": limit.task_of,
        "get_until": get_until,
        "enter": limit.enter,
        "failed": limit.failed,
        "late": limit.late,
        "time": TIME,
    }
    call = {what: frame.knows(what, value) for what, value in known.items()}
    loop, task, timer, calls, key, error = (
        f"{name}_{part}" for part in ("loop", "task", "timer", "calls", "key", "error")
    )
    yield f"{loop} = {call['get_loop']}()"
    yield f"{task} = {call['task_of']}({loop})"
    yield f"{timer} = {name}.timer"
    yield f"{calls} = {timer}.calls"
    yield f"if {timer}.ticking_in is {loop} and {call['get_until']}() is None and {task} not in {calls} and \\"
    yield f"        not {task}.cancelling():"
    yield f"    {calls}[{task}] = {call['time']}.monotonic() + {frame.knows('limit_s', limit.limit_s)}"
    yield f"    {key} = {task}"
    yield "else:"
    yield f"    {key}, {calls} = {call['enter']}()"
    yield "try:"
    yield from _indented(inner)
    yield f"except BaseException as {error}:"
    yield f"    {call['failed']}({calls}, {key}, {error})"
    yield "    raise"
    yield f"if {calls}.pop({key}, None) is None:"
    yield f"    {call['late']}({key})"


_EMITTERS: dict[str, Emitter] = {
    "RetryLayer": _retry,
    "CircuitBreakerLayer": _circuit_breaker,
    "BulkheadLayer": _bulkhead,
    "RateLimiterLayer": _rate_limiter,
}
_ASYNC_EMITTERS: dict[str, Emitter] = {**_EMITTERS, "TimeoutLayer": _timeout}


def _emitter(layer: Layer, *, asynchronous: bool) -> Emitter | None:
    """Who writes the lines of `layer`; None where it has to stay a closure."""
    special = (_ASYNC_EMITTERS if asynchronous else _EMITTERS).get(type(layer).__name__)
    if special is not None:
        return special
    return _admission if isinstance(layer, Admission) else None
