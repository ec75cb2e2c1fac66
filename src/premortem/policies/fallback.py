"""Something else instead: a value, a function, the next provider, or the last good answer.

Outermost in a policy, and for errors whose substitute is worth having; what is not named in `on` goes through, as do
cancellation and KeyboardInterrupt. When there is no substitute either, the first error is raised, with notes about what
else was tried.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import wraps
from typing import Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import checks
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.stale import StaleCache, StaleCacheLayer, key_of


class Nothing(Enum):
    """That no value was given, since None is one."""

    NOTHING = "nothing"


NOTHING = Nothing.NOTHING


@dataclass(frozen=True, slots=True)
class Fallback:
    """For errors of `on`, in this order as far as given: `stale`, then `providers`, then `call` or `value`.

    `value` is returned as it is: the same object every time. `call` is a function of nothing, or of the error if it has
    one parameter without a default. `providers` get the arguments of the call; one that fails with an error of `on`
    makes way for the next. `call` and `providers` may be coroutine functions where the guarded function is one.
    `on` has no default: name RejectedError for calls that were not let through, TimeLimitError for those out of time.
    """

    kind: ClassVar[str] = "fallback"

    on: tuple[type[Exception], ...] | type[Exception] = field(kw_only=True)
    value: Any = field(default=NOTHING, kw_only=True)
    call: Callable[..., Any] | None = field(default=None, kw_only=True)
    providers: tuple[Callable[..., Any], ...] = field(default=(), kw_only=True)
    stale: StaleCache | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "on", checks.exceptions("Fallback.on", self.on))
        if self.call is not None and not callable(self.call):
            raise ConfigurationError(f"Fallback.call = {self.call!r}: has to be a function; for a value write value=")
        if self.call is not None and self.value is not NOTHING:
            raise ConfigurationError(f"Fallback(call=..., value={self.value!r}): one of the two has to be left out")
        if type(self.providers) is not tuple or not all(map(callable, self.providers)):
            raise ConfigurationError(f"Fallback.providers = {self.providers!r}: has to be a tuple of functions")
        if self.stale is not None and not isinstance(self.stale, StaleCache):
            raise ConfigurationError(f"Fallback.stale = {self.stale!r}: has to be a StaleCache(...)")
        if self.value is NOTHING and self.call is None and not self.providers and self.stale is None:
            raise ConfigurationError("Fallback(): falls back to nothing; give value=, call=, providers= or stale=")

    def layer(self, policy: str) -> FallbackLayer:
        """As `layer.Spec`."""
        return FallbackLayer(self, policy)


class FallbackLayer:
    """Calls, and looks for something else when that fails."""

    def __init__(self, spec: Fallback, policy: str) -> None:
        self.spec = spec
        self.policy = policy
        self.stale = StaleCacheLayer(spec.stale, policy) if spec.stale is not None else None
        self._on: tuple[type[Exception], ...] = checks.exceptions("Fallback.on", spec.on)
        self._wants_error = spec.call is not None and _takes_one(spec.call)

    def _tell(self, to: str, error: Exception) -> None:
        emit("policy.fallback", policy=self.policy, to=to, why=f"{type(error).__name__}: {error}")

    def _ways(
        self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[tuple[str, Callable[[], Any]]]:
        """Names and calls, in the order in which to try them."""
        spec = self.spec
        ways: list[tuple[str, Callable[[], Any]]] = [
            (f"provider {number}", lambda provider=provider: provider(*args, **kwargs))  # type: ignore[misc]
            for number, provider in enumerate(spec.providers, 1)
        ]
        if spec.call is not None:
            call = spec.call
            ways.append(("call", (lambda: call(error)) if self._wants_error else call))
        elif spec.value is not NOTHING:
            ways.append(("value", lambda: spec.value))
        return ways

    def _note(self, error: Exception, way: str, failed: Exception) -> None:
        error.add_note(f"premortem: policy {self.policy!r}: fallback to {way}: {type(failed).__name__}: {failed}")

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        for function in (self.spec.call, *self.spec.providers):
            if inspect.iscoroutinefunction(function):
                raise ConfigurationError(
                    f"policy {self.policy!r}: the fallback {function!r} is a coroutine function, and what it guards "
                    "is none; use a plain function"
                )
        on, stale, origin, call_instead = self._on, self.stale, inspect.unwrap(inner), self._instead

        @wraps(inner)
        def fallen(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, origin, stale.spec.key, args, kwargs) if stale is not None else None
            try:
                result = inner(*args, **kwargs)
            except on as error:
                answer = stale.instead(key, error) if stale is not None else None
                if answer is not None:
                    self._tell("stale", error)
                    return answer[0]
                return call_instead(error, args, kwargs)
            if stale is not None:
                stale.answers.put(key, result)
            return result

        return fallen

    def _instead(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for way, call in self._ways(error, args, kwargs):
            try:
                result = call()
            except self._on as failed:
                self._note(error, way, failed)
            else:
                self._tell(way, error)
                return result
        raise error

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        on, stale, origin, call_instead = self._on, self.stale, inspect.unwrap(inner), self._instead_async

        @wraps(inner)
        async def fallen(*args: Any, **kwargs: Any) -> Any:
            key = key_of(self.policy, origin, stale.spec.key, args, kwargs) if stale is not None else None
            try:
                result = await inner(*args, **kwargs)
            except on as error:
                answer = stale.instead(key, error) if stale is not None else None
                if answer is not None:
                    self._tell("stale", error)
                    return answer[0]
                return await call_instead(error, args, kwargs)
            if stale is not None:
                stale.answers.put(key, result)
            return result

        return fallen

    async def _instead_async(self, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for way, call in self._ways(error, args, kwargs):
            try:
                result = call()
                if way != "value" and inspect.isawaitable(result):
                    result = await result
            except self._on as failed:
                self._note(error, way, failed)
            else:
                self._tell(way, error)
                return result
        raise error


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether `function` has exactly one parameter that has to be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # some built-in ones do not tell: they are called with nothing
        return False
    places = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return len([one for one in parameters if one.kind in places and one.default is inspect.Parameter.empty]) == 1
