"""Several policies as one: read from the top down they stand from the outside in.

    orders = Policy("orders", Deadline(2), Retry(3, on=ConnectionError), CircuitBreaker(), Timeout(0.5))

    @orders                       # a function, a coroutine function, a generator, an async generator, a method
    def place(order): ...

    orders.call(place, order)     # once
    with orders.block(): ...      # what lets calls in, around a block: no retry, no fallback

All that one Policy decorates shares its state: one breaker, one set of permits.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, ParamSpec, TypeVar, cast

from premortem.errors import ConfigurationError
from premortem.policies import chain
from premortem.policies import fused as fused_chain
from premortem.policies.bypass import SWITCH
from premortem.policies.layer import Admission, Layer, Limiting, Spec
from premortem.policies.lint import PolicyOrderWarning, findings

P = ParamSpec("P")
R = TypeVar("R")
L = TypeVar("L")
Guard = Admission | Limiting


class Policy:
    """A name, specs, and their layers with the state that everything decorated by this policy shares."""

    def __init__(self, name: str, *specs: Spec, fused: bool = True, lint: bool = True) -> None:
        if not name or not isinstance(name, str):
            raise ConfigurationError(f"Policy name {name!r}: has to be a text; events and errors carry it")
        for finding in findings(specs) if lint else ():
            warnings.warn(f"policy {name!r}: {finding}", PolicyOrderWarning, stacklevel=2)
        self.name = name
        self.specs = specs
        # `fused=False` is for looking at a problem with plain closures: slower, and the reference for our own tests.
        self._chain = fused_chain if fused else chain
        self.layers: tuple[Layer, ...] = tuple(spec.layer(name) for spec in specs)

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        """Decorate `function`; its name, signature and kind stay what they are."""
        guarded: Any
        if inspect.isasyncgenfunction(function):
            guarded = self._around_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            guarded = self._around_generator(function)
        elif inspect.iscoroutinefunction(function):
            guarded = self._chain.around_async(self.layers, function)
        else:
            guarded = self._chain.around(self.layers, function)
        if guarded is function:
            return cast("Callable[P, R]", function)  # nothing to do: a wrapper of itself would have no end
        result: Callable[P, R] = functools.update_wrapper(guarded, function)
        SWITCH.note(result)
        return result

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `function` once under this policy; for a coroutine function, await what comes back."""
        return self(function)(*args, **kwargs)

    def layer(self, kind: type[L]) -> L:
        """The layer of a kind, to look at or to switch by hand: `policy.layer(CircuitBreakerLayer).isolate()`."""
        for layer in self.layers:
            if isinstance(layer, kind):
                return layer
        raise ConfigurationError(f"policy {self.name!r} has no {kind.__name__}; it has {self.describe()}")

    def describe(self) -> str:
        """The policy in one line, from the outside in."""
        return " > ".join(map(repr, self.specs)) or "nothing"

    @contextmanager
    def block(self) -> Iterator[None]:
        """What lets calls in, around a block of code. ConfigurationError for what has to call, as Retry does."""
        with _entered([] if SWITCH.off else self._admissions("a block")):
            yield

    @asynccontextmanager
    async def block_async(self) -> AsyncIterator[None]:
        """The same in a coroutine, where Timeout and Deadline can interrupt a block, too."""
        guards: list[Guard] = []
        for spec, layer in zip(self.specs, self.layers, strict=True):
            if not isinstance(layer, Admission | Limiting):
                raise self._cannot(spec, "a block")
            guards.append(layer)
        async with _entered_async([] if SWITCH.off else guards):
            yield

    def _admissions(self, what: str) -> list[Admission]:
        """All layers, if all of them can guard something that cannot be called twice."""
        for spec, layer in zip(self.specs, self.layers, strict=True):
            if not isinstance(layer, Admission):
                raise self._cannot(spec, what)
        return [layer for layer in self.layers if isinstance(layer, Admission)]

    def _cannot(self, spec: Spec, what: str) -> ConfigurationError:
        return ConfigurationError(
            f"policy {self.name!r}: {spec.kind} cannot guard {what}, which can neither be called again nor left from "
            "outside; use a Policy without it"
        )

    def _around_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        admissions = self._admissions("a generator")

        def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            with _entered(admissions):
                return (yield from function(*args, **kwargs))

        return guarded

    def _around_async_generator(self, function: Callable[..., Any]) -> Callable[..., Any]:
        admissions = self._admissions("an async generator")

        async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            async with _entered_async(admissions):
                stream = function(*args, **kwargs)
                try:
                    async for item in stream:
                        yield item
                finally:
                    await stream.aclose()

        return guarded


@contextmanager
def _entered(admissions: list[Admission]) -> Iterator[None]:
    if not admissions:
        yield
        return
    first, rest = admissions[0], admissions[1:]
    permit = first.enter()
    try:
        with _entered(rest):
            yield
    except BaseException as error:
        first.leave(permit, error)
        raise
    first.leave(permit, None)


@asynccontextmanager
async def _entered_async(guards: Sequence[Guard]) -> AsyncIterator[None]:
    if not guards:
        yield
        return
    first, rest = guards[0], guards[1:]
    if isinstance(first, Limiting):
        async with first.around_block(), _entered_async(rest):
            yield
        return
    permit = await first.enter_async()
    try:
        async with _entered_async(rest):
            yield
    except BaseException as error:
        first.leave(permit, error)
        raise
    first.leave(permit, None)
