"""What a policy is made of: a spec, which is data, and a layer, which is the spec at work with its state.

A spec is a frozen dataclass. `Policy("orders", Retry(...), CircuitBreaker(...))` asks each spec once for its layer;
all functions that the policy decorates share these layers and so their state. Two kinds of layers:

- An **admission** lets a call in or not, and hears how it ended (breaker, bulkhead, rate limit, shedding). It decides;
  calling is the chain's business, so one decision serves functions, coroutines, generators and blocks.
- A **wrapping** calls, and calls again or something else (retry, timeout, deadline, hedge, fallback).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, runtime_checkable

Call = Callable[..., Any]
AsyncCall = Callable[..., Awaitable[Any]]


class Spec(Protocol):
    """Frozen data: what a policy shall do. `kind` names it in data, events and errors: "retry"."""

    @property
    def kind(self) -> str:
        """The name of this kind of policy, in lower case with underscores."""
        ...

    def layer(self, policy: str) -> Layer:
        """The spec at work, with a state of its own, in the policy of that name."""
        ...


@runtime_checkable
class Admission(Protocol):
    """Lets calls in. `enter` may wait; it raises a RejectedError, or returns a permit that `leave` gets back.

    `leave` is called exactly once for every permit, with the error that ended the call, or None: any BaseException,
    cancellation included, for which it has to give the permit back and count nothing. It never raises, never waits.
    """

    def enter(self) -> Any:
        """Let one call in, from a thread."""
        ...

    async def enter_async(self) -> Any:
        """Let one call in, from an event loop, without blocking it."""
        ...

    def leave(self, permit: Any, error: BaseException | None) -> None:
        """Hear how a call ended that was let in."""
        ...


@runtime_checkable
class Wrapping(Protocol):
    """Calls `inner`: how often and with what around it is the layer's own affair."""

    def wrap(self, inner: Call) -> Call:
        """The layer around a function."""
        ...

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """The layer around a coroutine function."""
        ...


@runtime_checkable
class Limiting(Protocol):
    """A wrapping that can stand around a block of a coroutine, too: it interrupts, and need not call again."""

    def around_block(self) -> AbstractAsyncContextManager[None]:
        """The layer around a block."""
        ...


Layer = Admission | Wrapping
