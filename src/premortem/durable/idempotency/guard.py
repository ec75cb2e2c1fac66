"""A decorator: the calls of a function with one key are one call.

@idempotent(payments, key="order_id")
def charge(order_id: str, pence: int) -> str: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from premortem.durable.idempotency import Idempotency
from premortem.errors import ConfigurationError

P = ParamSpec("P")
R = TypeVar("R")
Key = str | Callable[..., str]


def idempotent(
    idempotency: Idempotency, *, key: Key, name: str = "", ignore: Collection[str] = ()
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Guard a function or a coroutine function.

    `key`: the parameter that holds the key, or a function of the call's arguments. All arguments but those in `ignore`
    (and a method's `self`) are compared. `name` is compared, too, so that two functions never share a key's result; it
    is the function's qualified name by default: give one of its own to a function that may be renamed.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        arguments = _Arguments(function, key, name, ignore)

        @functools.wraps(function)
        def once(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - what the function returns
            of, payload = arguments.taken(args, kwargs)
            return idempotency.run(of, payload, lambda _: function(*args, **kwargs))

        @functools.wraps(function)
        async def once_async(*args: P.args, **kwargs: P.kwargs) -> Any:  # noqa: ANN401 - as above
            of, payload = arguments.taken(args, kwargs)
            return await idempotency.run_async(of, payload, lambda _: function(*args, **kwargs))  # type: ignore[arg-type,return-value]

        return once_async if inspect.iscoroutinefunction(function) else once  # type: ignore[return-value]

    return decorated


class _Arguments:
    """What of a call is its key, and what is compared."""

    def __init__(self, function: Callable[..., object], key: Key, name: str, ignore: Collection[str]) -> None:
        self._signature, self._key = inspect.signature(function), key
        self._name = name or f"{function.__module__}.{function.__qualname__}"
        self._ignored = {"self", "cls", *ignore}
        known = set(self._signature.parameters)
        strange = sorted((set(ignore) | ({key} if isinstance(key, str) else set())) - known)
        if strange:
            raise ConfigurationError(
                f"idempotent({self._name}): there is no parameter {strange[0]!r}; its own are {sorted(known)}"
            )

    def taken(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> tuple[str, dict[str, object]]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        key = bound.arguments[self._key] if isinstance(self._key, str) else self._key(*args, **kwargs)
        compared = {name: value for name, value in bound.arguments.items() if name not in self._ignored}
        return key, {"function": self._name, "arguments": compared}
