"""What the tests of several policies need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from premortem.policies import Policy

Caller = Callable[..., Callable[[], Any]]


@pytest.fixture
def caller(kind: str) -> Caller:
    """Puts a function under a policy and gives what calls it: as it is, or as a coroutine in a loop of its own."""

    def call(policy: Policy, function: Callable[[], Any] = lambda: None) -> Callable[[], Any]:
        if kind == "sync":
            return policy(function)

        async def coroutine() -> Any:
            return function()

        guarded = policy(coroutine)
        return lambda: asyncio.run(guarded())

    return call
