"""Layers around a function, the first one outermost: plain closures, decided once, at decoration.

This is the reference: `fused.py` makes faster functions for the usual layers, and both pass the same tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import wraps
from typing import Any

from premortem.policies.layer import Admission, AsyncCall, Call, Layer


def around(layers: Sequence[Layer], function: Call) -> Call:
    """`function` inside all of `layers`."""
    for layer in reversed(layers):
        function = _admitted(layer, function) if isinstance(layer, Admission) else layer.wrap(function)
    return function


def around_async(layers: Sequence[Layer], function: AsyncCall) -> AsyncCall:
    """The coroutine function inside all of `layers`."""
    for layer in reversed(layers):
        function = _admitted_async(layer, function) if isinstance(layer, Admission) else layer.wrap_async(function)
    return function


def _admitted(layer: Admission, inner: Call) -> Call:
    enter, leave = layer.enter, layer.leave

    @wraps(inner)
    def admitted(*args: Any, **kwargs: Any) -> Any:
        permit = enter()
        try:
            result = inner(*args, **kwargs)
        except BaseException as error:
            leave(permit, error)
            raise
        leave(permit, None)
        return result

    return admitted


def _admitted_async(layer: Admission, inner: AsyncCall) -> AsyncCall:
    enter, leave = layer.enter_async, layer.leave

    @wraps(inner)
    async def admitted(*args: Any, **kwargs: Any) -> Any:
        permit = await enter()
        try:
            result = await inner(*args, **kwargs)
        except BaseException as error:
            leave(permit, error)
            raise
        leave(permit, None)
        return result

    return admitted
