"""Chaos as ordinary policies: faults, latency, other outcomes and behaviour, at a rate, right around the function.

Meant innermost, so that every other policy meets what it injects. A spec with `rate` 0 or `enabled=False` is not in
the chain at all: its layer gives the function back as it is. Prior art: Polly v8's chaos strategies (Simmy).
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ClassVar

from premortem.errors import ConfigurationError
from premortem.events import emit
from premortem.policies import checks
from premortem.policies.layer import AsyncCall, Call
from premortem.policies.timing import TIME

Switch = bool | Callable[[], bool]


@dataclass(frozen=True, slots=True)
class ChaosFault:
    """Raise `error` instead of calling, for a share `rate` (0 to 1) of the calls.

    `error` is an exception type that takes one text, or a function of nothing that returns an exception. The same
    `seed` gives the same calls again; without one it is drawn, and the events say it. `enabled` may be a function,
    which is asked at every call.
    """

    kind: ClassVar[str] = "chaos_fault"

    error: type[Exception] | Callable[[], Exception]
    rate: float = field(kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    enabled: Switch = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)
        if isinstance(self.error, type):
            checks.exceptions("ChaosFault.error", self.error)
            try:
                self.error("chaos")
            except TypeError as error:
                raise ConfigurationError(
                    f"ChaosFault.error = {self.error!r}: cannot be made from one text ({error}); "
                    "give a function of nothing that returns the exception"
                ) from error
        elif not callable(self.error):
            raise ConfigurationError(f"ChaosFault.error = {self.error!r}: has to be an exception type or a function")

    def layer(self, policy: str) -> ChaosLayer:
        """As `layer.Spec`."""
        return ChaosLayer(self, policy, self._strike)

    def _strike(self, policy: str) -> tuple[float, bool, Any]:
        if isinstance(self.error, type):
            raise self.error(f"chaos of policy {policy!r}")
        raise self.error()


@dataclass(frozen=True, slots=True)
class ChaosLatency:
    """Wait `latency_s` seconds before calling, for a share `rate` (0 to 1) of the calls; else as `ChaosFault`."""

    kind: ClassVar[str] = "chaos_latency"

    latency_s: float
    rate: float = field(kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    enabled: Switch = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)
        checks.seconds("ChaosLatency.latency_s", self.latency_s)

    def layer(self, policy: str) -> ChaosLayer:
        """As `layer.Spec`."""
        return ChaosLayer(self, policy, lambda _: (self.latency_s, True, None))


@dataclass(frozen=True, slots=True)
class ChaosOutcome:
    """Return `outcome` instead of calling, for a share `rate` (0 to 1) of the calls; else as `ChaosFault`."""

    kind: ClassVar[str] = "chaos_outcome"

    outcome: Any
    rate: float = field(kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    enabled: Switch = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)

    def layer(self, policy: str) -> ChaosLayer:
        """As `layer.Spec`."""
        return ChaosLayer(self, policy, lambda _: (0.0, False, self.outcome))


@dataclass(frozen=True, slots=True)
class ChaosBehaviour:
    """Call `behaviour` with nothing, and then the function, for a share `rate` (0 to 1); else as `ChaosFault`.

    It may be a coroutine function where the guarded function is one.
    """

    kind: ClassVar[str] = "chaos_behaviour"

    behaviour: Callable[[], Any]
    rate: float = field(kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    enabled: Switch = field(default=True, kw_only=True)

    def __post_init__(self) -> None:
        _check(self)
        if not callable(self.behaviour):
            raise ConfigurationError(f"ChaosBehaviour.behaviour = {self.behaviour!r}: has to be a function of nothing")

    def layer(self, policy: str) -> ChaosLayer:
        """As `layer.Spec`."""
        return ChaosLayer(self, policy, lambda _: (0.0, True, self.behaviour()))


Chaos = ChaosFault | ChaosLatency | ChaosOutcome | ChaosBehaviour

# Of a policy's name: seconds to wait, whether the function is called after all, and what came out of striking.
Strike = Callable[[str], tuple[float, bool, Any]]


def _check(spec: Chaos) -> None:
    what = type(spec).__name__
    checks.number(f"{what}.rate", spec.rate, 0, 1)
    if spec.seed is not None:
        checks.whole(f"{what}.seed", spec.seed, 0, 2**63 - 1)
    if not isinstance(spec.enabled, bool) and not callable(spec.enabled):
        raise ConfigurationError(f"{what}.enabled = {spec.enabled!r}: has to be true, false, or a function of nothing")


class ChaosLayer:
    """Decides which calls are struck; the two drivers wait, call or do not call."""

    def __init__(self, spec: Chaos, policy: str, strike: Strike) -> None:
        self.spec = spec
        self.policy = policy
        self.seed = spec.seed if spec.seed is not None else random.SystemRandom().getrandbits(32)
        self.chance = random.Random(self.seed)  # noqa: S311 - replayable on purpose
        self._strike = strike

    @property
    def absent(self) -> bool:
        """Whether it never strikes, and need not be there."""
        return self.spec.rate == 0 or self.spec.enabled is False

    def strikes(self) -> bool:
        """Whether this call is struck. Draws for every call, so that a switch does not shift the calls after it."""
        drawn = self.chance.random() < self.spec.rate
        enabled = self.spec.enabled
        if not drawn or not (enabled is True or (callable(enabled) and enabled())):
            return False
        emit("policy.chaos", policy=self.policy, chaos=self.spec.kind, seed=self.seed)
        return True

    def wrap(self, inner: Call) -> Call:
        """As `layer.Wrapping`."""
        if self.absent:
            return inner
        policy, strikes, strike = self.policy, self.strikes, self._strike

        @wraps(inner)
        def struck(*args: Any, **kwargs: Any) -> Any:
            if strikes():
                wait_s, call, outcome = strike(policy)
                if not call:
                    return outcome
                if inspect.iscoroutine(outcome):
                    outcome.close()
                    raise ConfigurationError(f"policy {policy!r}: a coroutine function as chaos around a plain one")
                if wait_s:
                    TIME.sleep(wait_s)
            return inner(*args, **kwargs)

        return struck

    def wrap_async(self, inner: AsyncCall) -> AsyncCall:
        """As `layer.Wrapping`."""
        if self.absent:
            return inner
        policy, strikes, strike = self.policy, self.strikes, self._strike

        @wraps(inner)
        async def struck(*args: Any, **kwargs: Any) -> Any:
            if strikes():
                wait_s, call, outcome = strike(policy)
                if not call:
                    return outcome
                if inspect.isawaitable(outcome):
                    await outcome
                if wait_s:
                    await TIME.sleep_async(wait_s)
            return await inner(*args, **kwargs)

        return struck
